"""The texts in a PNG file, read without decoding the picture."""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from cones.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_TEXT = 2**20  # bytes; longer ones are other programs'
MAX_CHUNKS = 2**16

_HEAD = struct.Struct(">I4s")
KINDS = (b"tEXt", b"zTXt", b"iTXt")


def read_png_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts of a PNG file by their keys; those above `MAX_TEXT` are left out.

    Raises:
        InputError: the file cannot be read, is no PNG file, is damaged, or has two texts of a key.
    """
    try:
        with open(path, "rb") as file:
            return _texts(file)
    except (OSError, ValueError, zlib.error) as error:  # ValueError: a null in the path, too
        reason = getattr(error, "strerror", None) or "no PNG file, or a damaged one"
        raise InputError(
            f"{path}: cannot be read ({reason}); name a picture that cones has drawn"
        ) from error


def _texts(file: BinaryIO) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, data in _chunks(file):
        if (said := text_of(kind, data)) and found.setdefault(*said) != said[1]:
            raise ValueError("two texts of one key")
    return found


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of each chunk of text; the others are passed over."""
    if file.read(len(SIGNATURE)) != SIGNATURE:
        raise ValueError("no PNG file")
    for _ in range(MAX_CHUNKS):
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise ValueError("truncated")
        size, kind = _HEAD.unpack(head)
        if kind == b"IEND":
            return
        if kind in KINDS and size <= MAX_TEXT:
            data, check = file.read(size), file.read(4)
            if check != struct.pack(">I", zlib.crc32(kind + data)):
                raise ValueError("damaged")
            yield kind, data
        else:
            file.seek(size + 4, os.SEEK_CUR)
    raise ValueError("too many chunks")


def text_of(kind: bytes, data: bytes) -> tuple[str, str] | None:
    """Key and text of a chunk; None where the text is too long.

    Args:
        kind: one of `KINDS`.
        data: what is in the chunk.

    Raises:
        ValueError: it is damaged; or `zlib.error`.
    """
    key, _, rest = data.partition(b"\0")
    packed, encoding = kind == b"zTXt", "latin-1"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed, encoding = rest[:1] == b"\1", "utf-8"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # language, translated key
    if packed:
        unpacking = zlib.decompressobj()
        rest = unpacking.decompress(rest, MAX_TEXT + 1)
        if len(rest) > MAX_TEXT:
            return None
        if not unpacking.eof:
            raise ValueError("damaged")
    return key.decode("latin-1"), rest.decode(encoding)
