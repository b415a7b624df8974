"""One image file -> an upright RGB picture, or one line that says what it is and what to do.

A file is what its content says, whatever its name. Every pixel is decoded here, so damage shows
here. Metadata is no reason to refuse a picture whose pixels are sound, however large or damaged it
is. Of a PNG file Pillow, which would, sees only what the pixels need.
"""

import codecs
import os
import warnings
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError, features

from cones.errors import InputError
from cones.files.writing import shown
from cones.subjects.colours import to_srgb
from cones.subjects.png import png_parts
from cones.subjects.pngtext import SIGNATURE

FORMATS_IN_WORDS = "JPEG, PNG, WebP or BMP image"
RAW = {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"}
SUFFIXES = RAW | {
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".heic", ".heif", ".avif", ".tif", ".tiff",
    ".jxl", ".jp2", ".psd",
}  # fmt: skip
HEAD = 64  # bytes of a file that tell its kind
MAX_FILE = 2**30
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_FOREIGN = (
    (b"GIF8", "a GIF image; convert it to PNG"),
    (b"II*\0", "a TIFF image; convert it to PNG"),
    (b"MM\0*", "a TIFF image; convert it to PNG"),
    (b"\xff\x0a", "a JPEG XL image; convert it to JPEG or PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image; convert it to JPEG or PNG"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image; convert it to JPEG or PNG"),
    (b"8BPS", "a Photoshop document; export it as PNG"),
    (b"%PDF", "a PDF document; export its picture as PNG"),
    (b"<svg", "a drawing in SVG; export it as PNG"),
    (b"<!DOCTYPE", "a web page; download the photograph itself"),
    (b"<html", "a web page; download the photograph itself"),
    (b"version https://git-lfs", "a git-LFS pointer; fetch the photograph with `git lfs pull`"),
)
_RAW = "a camera's raw file; export it as JPEG"
_INSTALL_HEIF = "a HEIC photograph; install cones-diffusion[heif], or convert it to JPEG"
_UNKNOWN = f"no {FORMATS_IN_WORDS} but {{}}"
_ORIENTATION = 0x0112  # Exif tag


class NotAnImage(InputError):
    """The file's content is no picture that can be read."""


def kind_of(head: bytes) -> str | None:
    """What a file is by its first bytes: the name of a format of Pillow's, or None."""
    if head.startswith(SIGNATURE):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    brands = [head[k : k + 4] for k in (8, *range(16, HEAD, 4))] if head[4:8] == b"ftyp" else []
    if brands and brands[0] in (b"avif", b"avis"):
        return "AVIF"
    if brands and brands[0] in _HEIC:
        return "AVIF" if b"avif" in brands else "HEIF"
    return None


def read_head(path: Path) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except (OSError, ValueError):  # ValueError: a null in the name
        return b""


def read_image(path: Path) -> tuple[Image.Image, list[str]]:
    """The whole upright picture as RGB, and remarks that go on from the file's name.

    Raises:
        NotAnImage: its content is no picture that can be read.
        InputError: it cannot be read, is damaged or too large.
    """
    data = _bytes(path)
    kind = _require_reader(kind_of(data[:HEAD]), data[:HEAD], path.suffix)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image, animated = _decoded(data, kind)
            image, remarks = upright_rgb(image)
    except UnidentifiedImageError:
        damaged = f"a damaged {kind} file; replace it by a whole copy"
        raise NotAnImage(_UNKNOWN.format(damaged)) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise InputError(
            f"{shown(path)} has more than {limit:.1f} megapixels; scale it down or remove it"
        ) from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(
            f"{shown(path)} is damaged ({reason}); replace it by a whole copy or remove it"
        ) from error
    return image, [*["is animated; its first frame is used"] * animated, *remarks]


def upright_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """A picture turned as its Exif says, opaque sRGB, and remarks that go on from its name.

    Raises:
        ValueError: its mode tells no colours.
    """
    remarks = []
    try:
        Image.Exif().load(image.info.get("exif", b""))  # `getexif` raises the first time only
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # Exif that is damaged, in any way
        orientation = None
        remarks.append("has damaged Exif data; it is taken to be upright")
    result, about_colours = to_srgb(image)
    result.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(result), remarks + about_colours


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE:
                raise InputError(f"{shown(path)} has more than 1 GB; scale it down or remove it")
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a null in the name
        raise InputError(unreadable(path, error)) from error


def unreadable(path: Path, error: OSError | ValueError) -> str:
    """What to say of a file or folder that cannot be read."""
    reason = getattr(error, "strerror", None) or str(error)
    return f"{shown(path)} cannot be read ({reason}); check that it exists and its permissions"


def _require_reader(kind: str | None, head: bytes, suffix: str) -> str:
    """The format to read a file as.

    Raises:
        NotAnImage: there is none, or none that can be read here.
    """
    if kind == "AVIF" and not features.check("avif"):
        raise NotAnImage(_UNKNOWN.format("an AVIF image; upgrade Pillow, or convert it to PNG"))
    if kind == "HEIF":
        try:
            import_module("pillow_heif").register_heif_opener()
        except ImportError:
            raise NotAnImage(_UNKNOWN.format(_INSTALL_HEIF)) from None
    if kind is not None:
        return kind
    start = head.lstrip(codecs.BOM_UTF8 + b" \t\r\n").lower()
    known = [what for mark, what in _FOREIGN if start.startswith(mark.lower())]
    if suffix.lower() in RAW or head[8:12] == b"crx ":
        known = [_RAW]
    elif head[4:8] == b"ftyp":
        known = ["a video; save some of its pictures as PNG"]
    elif not head:
        known = ["an empty file; copy the photograph anew"]
    if known:
        raise NotAnImage(_UNKNOWN.format(known[0]))
    raise NotAnImage(f"no {FORMATS_IN_WORDS}; if it is a photograph, convert it")


def _decoded(data: bytes, kind: str) -> tuple[Image.Image, bool]:
    """The picture with all its pixels, and whether it is the first of an animation."""
    told: dict[str, Any] = {}
    if kind == "PNG":
        data, told = png_parts(data)
    image: Image.Image = Image.open(BytesIO(data), formats=(kind,))
    # A phone's JPEG or HEIC may carry further frames (depth, thumbnails): that is no animation.
    moves = kind in ("WEBP", "AVIF") and getattr(image, "is_animated", False)
    image.load()
    image.info.update(told)
    return image, moves or told.pop("frames", 1) > 1
