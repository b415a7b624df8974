"""What a PNG file tells: its pixels for Pillow, the rest read here, within limits.

Pillow refuses a file for a text of more than 1 MiB or a chunk that is damaged, though the pixels
are sound; here such a chunk tells nothing.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from cones.subjects.colours import MAX_PROFILE
from cones.subjects.pngtext import KINDS, SIGNATURE, text_of

_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")  # texts that tell it


def png_parts(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A PNG file of what its pixels need, and what else it tells, in Pillow's words for it."""
    kept, told = [SIGNATURE], {}
    for kind, chunk in _chunks(data):
        body = chunk[8:-4]
        name, read = _TOLD.get(kind, ("", None))
        with suppress(ValueError, IndexError, struct.error, zlib.error):  # then it tells nothing
            if kind in _PIXELS:
                kept.append(chunk)
            elif read is not None and name not in told:
                told[name] = read(body)
            elif kind in KINDS and body.startswith(_ORIENTATION) and (said := text_of(kind, body)):
                told.setdefault(*said)
    return b"".join(kept), told


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name of each chunk of a PNG file, and the whole chunk."""
    at = len(SIGNATURE)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        yield data[at + 4 : at + 8], data[at:end]
        at = end


def _profile(body: bytes) -> bytes:
    """An ICC profile; empty where it is damaged or too large."""
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(body.partition(b"\0")[2][1:], MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if stream.eof else b""


_TOLD: dict[bytes, tuple[str, Callable[[bytes], Any]]] = {
    b"gAMA": ("gamma", lambda body: struct.unpack(">I", body)[0] / 1e5),
    b"cHRM": ("chromaticity", lambda body: tuple(k / 1e5 for k in struct.unpack(">8I", body))),
    b"sRGB": ("srgb", lambda body: body[0]),
    b"iCCP": ("icc_profile", _profile),
    b"cICP": ("cicp", tuple),
    b"eXIf": ("exif", lambda body: b"Exif\0\0" + body),
    b"acTL": ("frames", lambda body: int.from_bytes(body[:4])),
}
