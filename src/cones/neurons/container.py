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
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy.typing as npt

from cones.errors import ConesError, InputError, NeuronFileError
from cones.files.kinds import other_file, other_safetensors
from cones.files.paths import local_name
from cones.files.strict_json import MAX_BYTES, parse_json
from cones.files.writing import atomic_path, safetensors_parts
from cones.neurons.header import METADATA, Damage, layout_of, metadata_of, views_of
from cones.neurons.validation import checked_texts

MAX_HEADER = MAX_BYTES

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

_LENGTH = struct.Struct("<Q")


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
        if METADATA in tensors:
            raise InputError(f"{METADATA}: is no name for a tensor in a file; rename it")
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
        """Writes a container, all or nothing; the errors are those of `parts` and `atomic_path`.

        Args:
            path: of the file.
            tensors: as for `parts`.
            metadata: as for `parts`; all of it is signed.
        """
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
            metadata = metadata_of(header)
        except ConesError as error:
            raise self.damaged(name, f"its header {error}") from error
        self._require_format(name, metadata, header)
        try:
            layout = layout_of(header, size - len(head) - length)
            tensors = views_of(layout, file.read(size - len(head) - length))
            self._require_digest(metadata, tensors)
        except Damage as error:
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
            raise Damage(f"its metadata are incomplete: {missing[0]} is missing")
        digest = _digest(safetensors_parts(tensors, {key: metadata[key] for key in keys}))
        if metadata.get("digest") != digest:
            raise Damage(f"expected the digest {digest}, found {metadata.get('digest', 'none')}")


def format_name(path: str | os.PathLike[str]) -> str:
    """The `format` of the container at `path`; "" if there is none or it cannot be read."""
    try:
        with open(local_name(path), "rb") as file:
            length = int.from_bytes(file.read(_LENGTH.size), "little")
            header = parse_json(file.read(length)) if length <= MAX_HEADER else None
            return metadata_of(header).get("format", "")
    except (OSError, ValueError, ConesError):  # ValueError: a null in the path
        return ""


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:32]
