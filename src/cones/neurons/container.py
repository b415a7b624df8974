r"""Signed containers: the frame of neuron files, artifacts and checkpoints.

A container is a safetensors file, as `safetensors_parts` of `cones.files.writing` writes it. Its
metadata are texts, among them `format` and `format_version`, which say what is in it, and `digest`:
the first 32 hex digits of the SHA-256 of the file as it would be with no metadata but those that
its `Format` signs. The digest finds damage. It is no signature: who changes a file can write
another.

So nothing in a container is trusted. A reader takes memory in proportion to the file only, and it
checks in this order: the size of the header (at most 4 MiB), the header's JSON, the format, the
version, that the tensors lie one after another to the end of the file, the digest. The file is read
and not mapped: what another program writes into it meanwhile changes nothing.
"""

import hashlib
import io
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from cones.errors import ConesError, InputError, NeuronFileError
from cones.files.kinds import other_file, other_safetensors
from cones.files.paths import local_name
from cones.files.strict_json import MAX_BYTES, parse_json
from cones.files.writing import KINDS, atomic_path, safetensors_parts
from cones.neurons.validation import checked_texts

MAX_HEADER = MAX_BYTES

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

_LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Container:
    """What a container holds.

    Attributes:
        metadata: all of it, also what is not signed.
        tensors: name -> read-only view of the file's bytes.
        nbytes: the size of the file.
    """

    metadata: Mapping[str, str]
    tensors: Tensors
    nbytes: int


@dataclass(frozen=True)
class Format:
    """A kind of container: how it is written and read.

    Attributes:
        name: its `format`.
        version: its `format_version`.
        noun: what messages call one, with its article.
        maker: the file to name instead, for who has named another.
        signed: the metadata that the digest covers beside these two; all others if it is None.
        error: what a file that cannot be read raises.
        remedy: what to do about a damaged one.
    """

    name: str
    version: str
    noun: str
    maker: str
    signed: tuple[str, ...] | None = None
    error: type[ConesError] = NeuronFileError
    remedy: str = "copy or download it again"

    def parts(
        self,
        tensors: Tensors,
        metadata: Mapping[str, str],
        unsigned: Mapping[str, str] | None = None,
    ) -> list[bytes | memoryview]:
        """The bytes of a container, in pieces: the header, then each tensor's.

        Args:
            tensors: name -> array of one of `cones.files.writing.KINDS`.
            metadata: what is signed, but for `format` and `format_version`.
            unsigned: further metadata, for other programs.

        Raises:
            InputError: a text is no Unicode, a tensor has the name of the metadata, or names and
                metadata are longer than a reader takes.
        """
        signed = {"format": self.name, "format_version": self.version, **metadata}
        if _METADATA in tensors:
            raise InputError(f"{_METADATA}: is no name for a tensor in a file; rename it")
        for key, text in [*signed.items(), *(unsigned or {}).items()]:
            checked_texts(key, key, text)
        checked_texts("a tensor's name", *tensors)
        digest = _digest(safetensors_parts(tensors, signed))
        parts = safetensors_parts(tensors, {**signed, **(unsigned or {}), "digest": digest})
        if len(parts[0]) - _LENGTH.size > MAX_HEADER:
            raise InputError(
                f"expected at most {MAX_HEADER} bytes of names and metadata in {self.noun}, "
                f"found {len(parts[0])}; shorten them"
            )
        return parts

    def save(
        self, path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, str]
    ) -> None:
        """Writes a container, all or nothing; the errors are those of `parts` and `atomic_path`."""
        parts = self.parts(tensors, metadata)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.writelines(parts)

    def load(self, path: str | os.PathLike[str]) -> Container:
        """Reads a container.

        Raises:
            ConesError: there is no such file, it is of another kind or version, or it is damaged;
                `self.error`.
        """
        path = local_name(path)
        try:
            if Path(path).is_dir():
                raise self.error(f"{path}: is a folder; name {self.noun} in it")
            if not Path(path).is_file():
                raise self.error(f"{path}: there is no such file; expected {self.noun}")
            with open(path, "rb") as file:
                return self._read(file, os.fstat(file.fileno()).st_size, os.fspath(path))
        except OSError as error:
            raise self.error(
                f"{path}: cannot be read ({error.strerror or error}); check its permissions"
            ) from error

    def from_bytes(self, data: bytes, name: str) -> Container:
        """`load` of a file with these bytes; `name` is what messages call it."""
        return self._read(io.BytesIO(data), len(data), name)

    def damaged(self, name: str | os.PathLike[str], what: object) -> ConesError:
        """The error that says what is wrong in a container."""
        return self.error(f"{name}: {what}; the file is damaged, {self.remedy}")

    def _read(self, file: BinaryIO, size: int, name: str) -> Container:
        length = int.from_bytes(head := file.read(_LENGTH.size), "little")
        text = file.read(length) if length <= min(MAX_HEADER, size - len(head)) else b""
        if not text.startswith(b"{"):
            beginning = head + (text or file.read(512))
            raise self.error(f"{name}: {other_file(beginning, size, f'name {self.noun}')}")
        try:
            header = parse_json(text)
            metadata = _metadata(header)
        except ConesError as error:
            raise self.damaged(name, f"its header {error}") from error
        self._require_format(name, metadata, header)
        try:
            layout = _layout(header, size - len(head) - length)
            tensors = _views(layout, file.read(size - len(head) - length))
            self._require_digest(metadata, tensors)
        except _Damage as error:
            raise self.damaged(name, error) from error
        return Container(metadata, tensors, size)

    def _require_format(
        self, name: str, metadata: Mapping[str, str], header: Mapping[str, Any]
    ) -> None:
        found = metadata.get("format", "none")
        if found != self.name:
            raise self.error(
                f"{name}: is {other_safetensors(header, metadata)}, not {self.noun}: expected "
                f"format={self.name} in its metadata, found {found}; name {self.maker}"
            )
        version = metadata.get("format_version", "none")
        if version != self.version:
            raise self.error(
                f"{name}: expected {self.noun} of version {self.version}, found {version}; "
                "upgrade cones if that is a newer one"
            )

    def _require_digest(self, metadata: Mapping[str, str], tensors: Tensors) -> None:
        others = metadata.keys() - {"digest"}
        keys = others if self.signed is None else {"format", "format_version", *self.signed}
        if missing := sorted(keys - others):
            raise _Damage(f"its metadata are incomplete: {missing[0]} is missing")
        digest = _digest(safetensors_parts(tensors, {key: metadata[key] for key in keys}))
        if metadata.get("digest") != digest:
            raise _Damage(f"expected the digest {digest}, found {metadata.get('digest', 'none')}")


def format_name(path: str | os.PathLike[str]) -> str:
    """The `format` of the container at `path`; "" if there is none or it cannot be read."""
    try:
        with open(local_name(path), "rb") as file:
            length = int.from_bytes(file.read(_LENGTH.size), "little")
            header = parse_json(file.read(length)) if length <= MAX_HEADER else None
            return _metadata(header).get("format", "")
    except (OSError, ValueError, ConesError):  # ValueError: a null in the path
        return ""


class _Damage(Exception):
    """What is wrong in a file that says it is of a format."""


class _Entry(NamedTuple):
    """A tensor in the header: its bytes are data[start:end]."""

    dtype: type[np.generic]
    shape: list[int]
    start: int
    end: int


def _metadata(header: object) -> dict[str, str]:
    found = header.get(_METADATA, {}) if isinstance(header, dict) else None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise InputError("is no object with metadata of texts")
    return found


def _layout(header: Mapping[str, Any], size: int) -> dict[str, _Entry]:
    """The tensors that a header describes, which cover `size` bytes of data."""
    entries = {name: _entry(name, value) for name, value in header.items() if name != _METADATA}
    at = 0
    for start, end in sorted((entry.start, entry.end) for entry in entries.values()):
        if start != at:
            raise _Damage(f"expected a tensor at byte {at} of the data, found one at {start}")
        at = end
    if at != size:
        state = "truncated" if at > size else "more follows"
        raise _Damage(f"expected {at} bytes of data, found {size} ({state})")
    return entries


def _views(layout: Mapping[str, _Entry], data: bytes) -> dict[str, Array]:
    tensors, view = {}, memoryview(data)
    for name, (dtype, shape, start, end) in layout.items():
        try:
            tensors[name] = np.frombuffer(view[start:end], dtype).reshape(shape)
        except (ValueError, OverflowError) as error:  # more or larger dimensions than numpy has
            raise _Damage(f"{name}: expected a tensor, found the shape {shape}") from error
    return tensors


def _entry(name: str, entry: object) -> _Entry:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _Damage(f"{name}: expected dtype, shape and data_offsets in the header")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _Damage(f"{name}: expected a shape and two data_offsets of whole numbers")
    if not isinstance(kind, str) or kind not in KINDS:
        raise _Damage(f"{name}: expected values of {', '.join(KINDS)}, found {kind} {shape}")
    size = math.prod(shape) * np.dtype(KINDS[kind]).itemsize
    if offsets[1] - offsets[0] != size:
        raise _Damage(f"{name}: expected {size} bytes, found {offsets[1] - offsets[0]}")
    return _Entry(KINDS[kind], shape, *offsets)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:32]
