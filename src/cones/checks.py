"""Checks of arguments, with one wording for all: what, expected, found.

A number that is NaN or infinite, of another type or out of range goes no further. What passes comes
back as Python's own int or float, which every file can hold.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from numbers import Integral, Real
from typing import TypeVar

from cones.errors import InputError
from cones.text import printable

MAX_DRAWING_SEED = 2**63 - 1  # the greatest that torch takes
MAX_SEED = 2**40  # of a search, which makes a seed for each step from it
MAX_SEEDS = 100_000  # of one call
MAX_BATCH = 1024  # samples or pictures at once
MAX_IMAGES = 10_000  # drawn for a prior or rendered for a measurement, all in memory

Item = TypeVar("Item")


def check_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    hint: str = "",
) -> float:
    """A finite number within its bounds.

    Args:
        name: of the argument, as its user knows it.
        value: what was given for it.
        least: the least that may be.
        above: what it must be more than.
        most: the most that may be.
        below: what it must be less than.
        hint: what to do, for the end of the line.

    Raises:
        InputError: it is no number, NaN, infinite or out of bounds.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        found = float(value)
        if (
            math.isfinite(found)
            and (least is None or found >= least)
            and (above is None or found > above)
            and (most is None or found <= most)
            and (below is None or found < below)
        ):
            return found
        bounded = most is not None or below is not None
        kind = "" if bounded or math.isfinite(found) else "a finite number"
    else:
        kind = "a number"
    raise _refusal(name, value, kind, _bounds(least, above, most, below), hint)


def check_count(
    name: str, value: object, least: int = 1, most: int | None = None, hint: str = ""
) -> int:
    """A whole number within its bounds.

    Args:
        name: of the argument, as its user knows it.
        value: what was given for it.
        least: the least that may be.
        most: the most that may be; None for no bound.
        hint: what to do, for the end of the line.

    Raises:
        InputError: it is no whole number, or out of bounds.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if isinstance(value, Integral) and whole:
        found = int(value)
        if found >= least and (most is None or found <= most):
            return found
    kind = "" if whole else "a whole number"
    raise _refusal(name, value, kind, _bounds(least, None, most, None), hint)


def check_some(name: str, values: Iterable[Item], most: int | None = None) -> list[Item]:
    """At least one of something, as a list.

    Args:
        name: of the argument, in the plural.
        values: those given.
        most: how many there may be.

    Raises:
        InputError: there is none, there are too many, or it is nothing that holds several.
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise InputError(f"{name}: expected a list, found {_found(values)}")
    if most is not None and isinstance(values, Sequence) and len(values) > most:
        raise InputError(f"{name}: expected at most {most}, found {len(values)}")
    found = list(values if most is None else islice(values, most + 1))
    if not found:
        raise InputError(f"{name}: expected at least one, found none")
    if most is not None and len(found) > most:
        raise InputError(f"{name}: expected at most {most}, found more")
    return found


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """Seeds of pictures.

    Raises:
        InputError: there is none, there are too many, or one that torch does not take.
    """
    if isinstance(seeds, Integral):
        raise InputError(f"seeds: expected several, such as range({seeds}), found {seeds}")
    return [
        check_count("seed", s, 0, MAX_DRAWING_SEED) for s in check_some("seeds", seeds, MAX_SEEDS)
    ]


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Refuses what is of another type.

    Args:
        name: of the argument, as its user knows it.
        value: what was given for it.
        kinds: the types that serve.
        expected: them in words: "a text".

    Raises:
        InputError: it is of none of them.
    """
    if not isinstance(value, kinds):
        raise InputError(f"{name}: expected {expected}, found a {type(value).__name__}")


def check_choice(name: str, value: object, known: Sequence[Item]) -> Item:
    """One of the words that are known.

    Args:
        name: of the argument, as its user knows it.
        value: what was given for it.
        known: what it may be.

    Raises:
        InputError: it is another.
    """
    for each in known:
        if each == value:
            return each
    expected = ", ".join(map(str, known))
    raise InputError(f"{name}: expected one of {expected}, found {_found(value)}")


def check_density(density: object, subjects: int = 1) -> float:
    """A share of the weights to shut for each of some subjects.

    Raises:
        InputError: it is not between 0 and 1, or all subjects together would shut every weight.
    """
    found = check_number("density", density, above=0, below=1, hint="0.05 shuts 5 % of the weights")
    if found * subjects >= 1:
        raise InputError(
            f"density: expected less than {1 / subjects:.3g}, since {subjects} subjects have as "
            f"much each, found {found:g}; they would shut every weight"
        )
    return found


def _bounds(
    least: float | None, above: float | None, most: float | None, below: float | None
) -> str:
    """What a number may be: "0 to 2", "more than 0 and less than 1", "at least 1"."""
    if least is not None and most is not None:
        return f"{_shown(least)} to {_shown(most)}"
    named = (("at least", least), ("more than", above), ("at most", most), ("less than", below))
    return " and ".join(f"{words} {_shown(bound)}" for words, bound in named if bound is not None)


def _found(value: object) -> str:
    return printable(repr(value), 60)


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _refusal(name: str, value: object, kind: str, bounds: str, hint: str) -> InputError:
    expected = ", ".join(filter(None, [kind, bounds])) or "a finite number"
    found = _found(value)
    return InputError(f"{name}: expected {expected}, found {found}" + (f"; {hint}" if hint else ""))
