"""JSON that others wrote: read with bounds, and refused unless it means one thing."""

import json
import re
from array import array
from itertools import accumulate
from typing import Any, NoReturn

from cones.errors import InputError

MAX_BYTES = 2**22
MAX_DEPTH = 32

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as int8: one level deeper, one less deep
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, its memory and time bounded by the length of the text.

    Args:
        text: bytes are UTF-8.

    Returns:
        A value of plain types, of which every text can be written as UTF-8.

    Raises:
        InputError: it is no JSON; or larger than `MAX_BYTES`, nested deeper than `MAX_DEPTH`, with
            a key twice in one object, a number that is not finite, half a surrogate pair.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > MAX_BYTES:
            raise ValueError(f"expected at most {MAX_BYTES} bytes, found {len(data)}")
        if _depth(data) > MAX_DEPTH:
            raise ValueError(f"expected at most {MAX_DEPTH} levels, found {_depth(data)}")
        value = json.loads(
            data.decode(),
            object_pairs_hook=_without_repeats,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        json.dumps(value, ensure_ascii=False).encode()  # fails on half a surrogate pair
    except ValueError as error:  # of which those of JSON and of Unicode are kinds
        raise InputError(f"cannot be read as JSON ({error})") from error
    return value


def _depth(data: bytes) -> int:
    """How deep brackets are nested, outside strings."""
    steps = array("b", _STRING.sub(b"", data).translate(_STEPS, _NO_BRACKETS))
    return max(accumulate(steps), default=0)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _finite(number: str) -> float:
    value = float(number)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"expected a finite number, found {number}")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"expected a finite number, found {name}")
