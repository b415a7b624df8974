"""JSON of strangers: bounded, and of one meaning."""

import json
import time
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones.errors import InputError
from cones.files.strict_json import MAX_BYTES, parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.booleans())
def test_what_is_json_is_read(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text) == parse_json(text.encode()) == value


@given(st.text('[]{}"\\:,1 aNe-.', max_size=40))
def test_the_rest_is_refused(text: str) -> None:
    try:
        value = parse_json(text)
    except InputError as error:
        assert str(error).startswith("cannot be read as JSON (")
    else:
        assert value == json.loads(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("[" * 995, "at most 32 levels, found 995"),
        ("[" * 100_000, "at most 32 levels, found 100000"),
        ('{"a":' * 40 + "1" + "}" * 40, "at most 32 levels, found 40"),
        ('{"a":1,"b":2,"a":1}', "the key 'a' is there twice"),
        ("[NaN]", "expected a finite number, found NaN"),
        ("-Infinity", "expected a finite number, found -Infinity"),
        ("[1e400]", "expected a finite number, found 1e400"),
        ("1" * 5000, "Exceeds the limit"),
        (r'"\ud800"', "surrogates not allowed"),
        (r'{"\udc00": 1}', "surrogates not allowed"),
        ("\ud800", "surrogates not allowed"),
        (b"\xff", "invalid start byte"),
        ("[1,2".encode("utf-16"), "invalid start byte"),
        ("\ufeff{}", "Unexpected UTF-8 BOM"),
        (" " * (MAX_BYTES + 1), "expected at most 4194304 bytes, found 4194305"),
        ('"' + "[" * 99, "Unterminated string"),
    ],
)
def test_it_says_why(text: str | bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_json(text)
    assert said in str(caught.value) and len(str(caught.value)) <= 300


def test_brackets_in_strings_are_no_levels() -> None:
    value = ["[" * 999, '\\"' + "[" * 999]
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("part", ["[],", "{},", '{"":0},', '"",', "0.5,", r'"\"', "\\", '"', "1,"])
def test_memory_is_in_proportion_to_the_text(part: str) -> None:
    text = "[" + part * (2**18 // len(part)) + "0]"
    tracemalloc.start()
    with suppress(InputError):
        parse_json(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20 + 64 * len(text)
    started = time.process_time()
    with suppress(InputError):
        parse_json(text)
    assert time.process_time() - started < 0.5
