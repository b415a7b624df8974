"""Some of `make fuzz`; and that it finds what is there to be found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.fuzz import Target, fuzz, targets
from cones.errors import InputError


@pytest.mark.parametrize("name", targets())
def test_what_is_damaged_or_forged_is_refused(name: str, tmp_path: Path) -> None:
    found = fuzz(targets()[name], name, 1, 0, 600, tmp_path)
    assert found.faults == []
    assert found.inputs == 600 and 5 < found.accepted < 595


def hold(path: Path) -> None:
    bytearray(2**27)


def fail(path: Path) -> None:
    raise KeyError(path.name)


def say_much(path: Path) -> None:
    error = InputError("x")
    error.args = ("\n" * 400,)
    raise error


@pytest.mark.parametrize(
    ("read", "said"),
    [(hold, "bytes of memory for"), (fail, "KeyError"), (say_much, "no short printable line")],
)
def test_faults_are_found(read: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    target = Target((b"abc",), read, lambda rng, data: data)
    found = fuzz(target, "x", 0, 7, 1, tmp_path)
    (fault,) = found.faults
    assert fault.startswith("x 7: ") and said in fault
