"""What a PNG file tells: its pixels for Pillow, the rest read here, within limits.

Pillow refuses a file for a text of more than 1 MiB or a chunk that is damaged, though the pixels
are sound; here such a chunk tells nothing.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from cones.colours import MAX_PROFILE

PNG = b"\x89PNG\r\n\x1a\n"
MAX_TEXT = 2**20  # bytes of a text that tells how the picture is turned
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def png_parts(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A PNG file of what its pixels need, and what else it tells, in Pillow's words for it."""
    kept, told = [PNG], {}
    for kind, chunk in _chunks(data):
        if kind in _PIXELS:
            kept.append(chunk)
            continue
        body = chunk[8:-4]
        if kind in _TEXTS:
            kind = body[: body.find(b"\0")]
        name, read = _TOLD.get(kind, ("", None))
        if read is not None and name not in told:
            with suppress(ValueError, IndexError, struct.error):  # a damaged one tells nothing
                told[name] = read(body)
    return b"".join(kept), told


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name of each chunk of a PNG file, and the whole chunk."""
    at = len(PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        yield data[at + 4 : at + 8], data[at:end]
        at = end


def _profile(body: bytes) -> bytes:
    """An ICC profile; empty where it is damaged or too large."""
    return _inflated(body[body.index(b"\0") + 2 :], MAX_PROFILE)


def _raw_exif(body: bytes) -> str:
    """Exif as ImageMagick writes it, in hexadecimal digits."""
    _, text = body.split(b"\0", 1)
    return (text if text[:1] == b"\n" else _inflated(text[1:], MAX_TEXT)).decode("latin-1")


def _xmp(body: bytes) -> bytes:
    _, rest = body.split(b"\0", 1)
    text = rest[2:].split(b"\0", 2)[2]
    return _inflated(text, MAX_TEXT) if rest[0] else text


def _inflated(data: bytes, limit: int) -> bytes:
    """What was compressed; nothing where that is damaged or larger than a limit."""
    stream = zlib.decompressobj()
    try:
        result = stream.decompress(data, limit)
    except zlib.error:
        return b""
    return result if stream.eof else b""


_TOLD: dict[bytes, tuple[str, Callable[[bytes], Any]]] = {
    b"gAMA": ("gamma", lambda body: struct.unpack(">I", body)[0] / 1e5),
    b"cHRM": ("chromaticity", lambda body: tuple(k / 1e5 for k in struct.unpack(">8I", body))),
    b"sRGB": ("srgb", lambda body: body[0]),
    b"iCCP": ("icc_profile", _profile),
    b"cICP": ("cicp", tuple),
    b"eXIf": ("exif", lambda body: b"Exif\0\0" + body),
    b"acTL": ("frames", lambda body: int.from_bytes(body[:4])),
    b"XML:com.adobe.xmp": ("xmp", _xmp),
    b"Raw profile type exif": ("Raw profile type exif", _raw_exif),
}
