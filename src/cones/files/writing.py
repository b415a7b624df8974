"""Writing files: whole or not at all, and the same bytes for the same content."""

import json
import os
import secrets
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import Any

import numpy as np
import numpy.typing as npt

from cones.errors import ConesError, InputError
from cones.files.locks import cannot_be_written, claimed, lock_of
from cones.files.paths import local_name
from cones.text import printable

# safetensors' name of a type of value -> numpy's, in the order in which a file has them.
KINDS: dict[str, type[np.generic]] = {
    "I64": np.int64,
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "U8": np.uint8,
}


@contextmanager
def atomic_path(path: str | os.PathLike[str], new: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path`; its file takes `path`'s place when the block ends.

    The new file is synced to disk before it is renamed, and has the mode that the umask gives. If
    the block raises, it is removed and `path` stays as it was. A link is followed: its target is
    replaced. Missing parent folders are made.

    Args:
        path: the file to write. The temporary file has the same suffix.
        new: whether nothing may be replaced.

    Yields:
        The path of an empty file to write to, or to replace.

    Raises:
        FileExistsError: `new`, and there is a file already.
        BusyError: another process is writing it.
        InputError: `path` cannot be written: it is a folder, its folder is read-only, the disk is
            full, ...
    """
    with claimed(path, wait=60) as target:
        start = lock_of(target).stem
        temporary = target.with_name(f"{start}-{secrets.token_hex(6)}{target.suffix}")
        try:
            with cannot_be_written(path):
                descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
                mode = os.fstat(descriptor).st_mode & 0o777
                os.close(descriptor)
                yield temporary
                os.chmod(temporary, mode)  # a writer that renames in its turn may have left another
                _sync(temporary, os.O_RDWR)
                placed = _place(temporary, target, new)
                with suppress(OSError):  # not every system opens a folder
                    _sync(target.parent, os.O_RDONLY)
        finally:
            with suppress(OSError):
                temporary.unlink()
    if not placed:
        raise FileExistsError(f"{path}: exists")


def atomic_write(
    path: str | os.PathLike[str], *parts: bytes | memoryview, new: bool = False
) -> None:
    """Writes bytes to `path`, all or nothing; what else there is to know says `atomic_path`."""
    with atomic_path(path, new) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part)


def write_result(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes what took long to make: where `path` cannot be written, to a temporary folder.

    Raises:
        ConesError: it could not be written to `path`; the line says where it is instead.
    """
    try:
        atomic_write(path, data)
    except ConesError as error:
        try:
            elsewhere = Path(mkdtemp(prefix="cones-")) / Path(path).name
            elsewhere.write_bytes(data)
        except OSError:
            raise error from None
        raise type(error)(f"{error}; the result is in {elsewhere}, move it from there") from error


def writable_folder(path: str | os.PathLike[str]) -> Path:
    """A folder that files can be made in; made if it does not exist, with its parents.

    Raises:
        InputError: `path` is a file, or the folder cannot be written.
    """
    folder = Path(local_name(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:  # ValueError: a null in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: is no folder that can be written ({reason}); name another place"
        ) from error
    return folder


def safetensors_bytes(
    tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]
) -> bytes:
    """The bytes of a safetensors file: `safetensors_parts` in one piece."""
    return b"".join(safetensors_parts(tensors, metadata))


def safetensors_parts(
    tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]
) -> list[bytes | memoryview]:
    """The bytes of a safetensors file in pieces, the same whenever the content is.

    (The safetensors library's own writer puts the metadata in a random order.) The length of the
    header, 8 bytes, little-endian; the header, compact ASCII JSON padded with spaces to a multiple
    of 8: `__metadata__` first, its keys sorted, then the tensors in the order of their data; the
    data, one after another, by their kind in the order of `KINDS`, each kind by name.

    Args:
        tensors: name -> array of one of `KINDS`.
        metadata: what goes into `__metadata__`.

    Returns:
        The header with its length, then the bytes of each tensor.

    Raises:
        InputError: a tensor is of another kind.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    parts: list[memoryview] = []
    order, end = list(KINDS), 0
    kinds = {name: _kind(name, tensor.dtype) for name, tensor in tensors.items()}
    for name in sorted(tensors, key=lambda name: (order.index(kinds[name]), name)):
        parts.append(np.ascontiguousarray(tensors[name]).data)
        start, end = end, end + parts[-1].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": kinds[name], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)) + text, *parts]


def _kind(name: str, dtype: np.dtype[Any]) -> str:
    for kind, known in KINDS.items():
        if dtype == known:
            return kind
    raise InputError(f"{name}: expected values of {', '.join(KINDS)}, found {dtype}")


def _place(temporary: Path, target: Path, new: bool) -> bool:
    """Moves a file to its place; False if it is to be `new` there and is not."""
    if not new:
        os.replace(temporary, target)
        return True
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        with suppress(FileExistsError):
            os.close(os.open(target, os.O_CREAT | os.O_EXCL))
            os.replace(temporary, target)
            return True
        return False
    return True


def shown(path: Path) -> str:
    """A path as one line of text, also when its name holds control characters."""
    return printable(path)


def _sync(path: Path, flags: int) -> None:
    """Makes a file's bytes, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
