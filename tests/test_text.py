"""What people are shown does nothing to their terminal, and is one line."""

import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones.errors import BaseModelWarning, ConesError, InputError
from cones.text import MAX_MESSAGE, printable, with_error

ANY = st.text(st.characters(), max_size=600)  # half surrogate pairs too


@given(ANY, st.integers(20, 400))
def test_it_is_one_short_printable_line(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable() and len(shown) <= limit
    shown.encode()
    assert printable(shown, limit) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a photo of a töy, 犬 🐕", "a photo of a töy, 犬 🐕"),
        ("C:\\photos", "C:\\photos"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x1b]52;c;cm0gLXJm\x1b\\", "\\x1b]52;c;cm0gLXJm\\x1b\\"),
        ("\x9b31m", r"\x9b31m"),
        ("x\ncones: all is well\r", r"x\ncones: all is well\r"),
        ("a\u2028b\u0085c", r"a\u2028b\x85c"),
        ("user\u202egnp.exe", r"user\u202egnp.exe"),
        ("a\u200bb\u2060c\ufeffd\u00ade", r"a\u200bb\u2060c\ufeffd\xade"),
        ("a\u3164b\ufe0fc\U000e0041d", r"a\u3164b\ufe0fc\U000e0041d"),
        ("\ud800", r"\ud800"),
        ("a\0b\tc", r"a\x00b\tc"),
    ],
)
def test_what_does_something_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_too_long_loses_its_middle() -> None:
    shown = printable(f"a.safetensors: expected 1, found {'9' * 100_000}; upgrade cones")
    assert len(shown) == MAX_MESSAGE and "99...99" in shown
    assert shown.startswith("a.safetensors: expected 1, found 9")
    assert shown.endswith("9; upgrade cones")


@pytest.mark.parametrize("kind", [ConesError, InputError, BaseModelWarning])
def test_errors_and_warnings_are_printable(kind: type[Exception]) -> None:
    error = kind(f"\x1b[2J{'x' * 999}\n")
    assert str(error).isprintable() and len(str(error)) <= MAX_MESSAGE
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error)
    assert str(kind()) == ""


def test_the_log_is_printable(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("cones").warning("%s is %d", "\x1b[2J\nWARNING forged", 3)
    assert caplog.messages == [r"\x1b[2J\nWARNING forged is 3"]


def test_a_mean_is_written_with_its_error() -> None:
    assert with_error(0.1, 0.02, ".2f") == "0.10 \N{PLUS-MINUS SIGN} 0.02"
    assert with_error(0.1, 0.02, "+.1f", bold=True) == "**+0.1** \N{PLUS-MINUS SIGN} 0.0"
    assert with_error(1200, None, ",.0f") == "1,200"
    assert with_error(None, None, ".3f") == "-"
