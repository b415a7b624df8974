"""The header of a safetensors file that others wrote: what it describes, checked to the byte."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cones.errors import InputError
from cones.files.writing import KINDS

METADATA = "__metadata__"


class Damage(Exception):
    """What is wrong in a file that says it is of a format."""


class Entry(NamedTuple):
    """A tensor in the header: its bytes are data[start:end]."""

    dtype: type[np.generic]
    shape: list[int]
    start: int
    end: int


def metadata_of(header: object) -> dict[str, str]:
    """The metadata that a header holds.

    Raises:
        InputError: it is no object, or its metadata are no texts.
    """
    found = header.get(METADATA, {}) if isinstance(header, dict) else None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise InputError("is no object with metadata of texts")
    return found


def layout_of(header: Mapping[str, Any], size: int) -> dict[str, Entry]:
    """The tensors that a header describes, by name.

    Args:
        header: of the file.
        size: bytes of data behind it, which the tensors are to cover, one after another.

    Raises:
        Damage: they do not, or one is described wrongly.
    """
    entries = {name: _entry(name, value) for name, value in header.items() if name != METADATA}
    at = 0
    for start, end in sorted((entry.start, entry.end) for entry in entries.values()):
        if start != at:
            raise Damage(f"expected a tensor at byte {at} of the data, found one at {start}")
        at = end
    if at != size:
        state = "truncated" if at > size else "more follows"
        raise Damage(f"expected {at} bytes of data, found {size} ({state})")
    return entries


def views_of(layout: Mapping[str, Entry], data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The tensors as views of the data, read-only.

    Raises:
        Damage: numpy knows no such shape.
    """
    tensors, view = {}, memoryview(data)
    for name, (dtype, shape, start, end) in layout.items():
        try:
            tensors[name] = np.frombuffer(view[start:end], dtype).reshape(shape)
        except (ValueError, OverflowError) as error:  # more or larger dimensions than numpy has
            raise Damage(f"{name}: expected a tensor, found the shape {shape}") from error
    return tensors


def _entry(name: str, entry: object) -> Entry:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Damage(f"{name}: expected dtype, shape and data_offsets in the header")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise Damage(f"{name}: expected a shape and two data_offsets of whole numbers")
    if not isinstance(kind, str) or kind not in KINDS:
        raise Damage(f"{name}: expected values of {', '.join(KINDS)}, found {kind} {shape}")
    size = math.prod(shape) * np.dtype(KINDS[kind]).itemsize
    if offsets[1] - offsets[0] != size:
        raise Damage(f"{name}: expected {size} bytes, found {offsets[1] - offsets[0]}")
    return Entry(KINDS[kind], shape, *offsets)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)
