"""A folder of photographs -> square RGB images, whatever the files are.

What can be used is used, and whatever had to be done to it is said in `Photos.notes`. What is no
image is skipped and listed in `Photos.skipped`. An image that is damaged or too large is an error
that names it: the user meant it to be used. Colours are taken as sRGB; embedded ICC profiles are
not applied.
"""

import re
import warnings
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cones.errors import InputError
from cones.files import shown

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")  # told apart by content, not by the file's name
FORMATS_IN_WORDS = "JPEG, PNG, WebP or BMP image"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".heic", ".avif", ".tif", ".tiff"}
TEXT_SUFFIXES = {".txt", ".caption", ".json", ".jsonl", ".csv"}
MAX_ASPECT = 3  # longer side : shorter side, above which the centre is hardly the picture


@dataclass(frozen=True)
class Photos:
    """The photographs of a folder, in the natural order of their names (2 before 10).

    Attributes:
        images: RGB, `size` x `size` pixels.
        paths: where each image came from.
        skipped: the folder's other entries, each with the reason.
        notes: what the user should know, one line each.
    """

    images: tuple[Image.Image, ...]
    paths: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]

    def enlarged(self, size: int) -> list[str]:
        """Notes on images that are small for a model of `size` x `size` pixels."""
        remarks = [_enlarged(image, size) for image in self.images]
        pairs = zip(self.paths, remarks, strict=True)
        return [f"{shown(path)} {remark}" for path, remark in pairs if remark]


class _NotAnImage(InputError):
    """The file's content is none of `FORMATS`."""


def load_photos(folder: Path, size: int | None = None) -> Photos:
    """Read every photograph that lies directly in a folder.

    Args:
        folder: holds JPEG, PNG, WebP or BMP files; anything else in it is skipped.
        size: side of the square images, in pixels; None leaves each at the size it has, uncut.

    Raises:
        InputError: no such folder, no image in it, or an image that cannot be used.
    """
    images: list[Image.Image] = []
    paths: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    notes: list[str] = []
    first_with: dict[str, Path] = {}
    for path in _entries(folder):
        try:
            if reason := _reason_to_skip(path):
                raise _NotAnImage(reason)
            image, remarks = _read(path, size)
        except _NotAnImage as error:
            skipped.append((path, str(error)))
            meant = path.is_dir() or path.suffix.lower() in SUFFIXES
            if meant and not path.name.startswith("."):
                notes.append(f"{shown(path)} was skipped: {error}")
            continue
        images.append(image)
        paths.append(path)
        notes += [f"{shown(path)} {remark}" for remark in remarks]
        same = first_with.setdefault(sha256(image.tobytes()).hexdigest(), path)
        if same != path:
            notes.append(f"{shown(path)} is the same picture as {shown(same)} and weighs double")
    if not images:
        raise InputError(_nothing_found(folder, skipped))
    if len(images) == 1:
        notes.append(
            f"{shown(folder)} holds one photograph only; three to six in different places tell"
            " the subject from its surroundings"
        )
    return Photos(tuple(images), tuple(paths), tuple(skipped), tuple(notes))


def photo_files(folder: Path) -> list[Path]:
    """The files directly in a folder that are photographs by name or first bytes; none is decoded.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    return [path for path in _entries(folder) if not _reason_to_skip(path) and _is_meant(path)]


def load_photo(path: Path, size: int | None = None) -> Image.Image:
    """Read one photograph: upright, opaque, cut to the centre square and scaled.

    Args:
        path: a JPEG, PNG, WebP or BMP file.
        size: side of the result, in pixels; a file that has this size already is not resampled.
            None leaves it at the size it has, uncut.

    Returns:
        RGB, `size` x `size` pixels if a size is given.

    Raises:
        InputError: the file is missing, unreadable, damaged, too large or no such image.
    """
    try:
        return _read(path, size)[0]
    except _NotAnImage as error:
        raise InputError(f"{shown(path)} cannot be used: {error}") from None


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Orders names as people do: runs of digits count as numbers, case does not."""
    parts = re.split(r"(\d+)", name.casefold())  # text, digits, text, digits, ...
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _entries(folder: Path) -> list[Path]:
    try:
        if not folder.exists():
            raise InputError(f"{shown(folder)} does not exist; give the folder of the photographs")
        if not folder.is_dir():
            raise InputError(f"{shown(folder)} is a file; give the folder of the photographs")
        return sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
    except OSError as error:
        raise InputError(_unreadable(folder, error)) from error


def _reason_to_skip(path: Path) -> str | None:
    """Why an entry is not even opened."""
    if path.name.startswith("."):
        return "hidden"
    if path.is_dir():
        return "a folder; only the photographs directly in the given folder are read"
    if not path.is_file():
        return "not a regular file"
    if path.suffix.lower() in TEXT_SUFFIXES:  # one that begins "BM" would pass for a BMP image
        return "captions or metadata"
    return None


def _is_meant(path: Path) -> bool:
    """Whether a file is an image, or is called like one."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # decoders raise nearly anything
        return False


def _nothing_found(folder: Path, skipped: list[tuple[Path, str]]) -> str:
    if not skipped:
        return f"{shown(folder)} is empty; put the subject's photographs into it"
    names = ", ".join(shown(Path(path.name)) for path, _ in skipped[:3])
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return (
        f"{shown(folder)} holds no {FORMATS_IN_WORDS}, only {names}{more};"
        " put the subject's photographs directly into it"
    )


def _unreadable(path: Path, error: OSError | ValueError) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"{shown(path)} cannot be read ({reason}); check that it exists and its permissions"


def _read(path: Path, size: int | None) -> tuple[Image.Image, list[str]]:
    """The finished image, and remarks that go on from the file's name."""
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a null in the name
        raise InputError(_unreadable(path, error)) from error
    with file:
        image, remarks = _decode(file, path)
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        remarks.append(
            f"is {width} x {height} pixels, longer than {MAX_ASPECT}:1; only its centre is used,"
            " so crop it around the subject"
        )
    if size is not None and (remark := _enlarged(image, size)):
        remarks.append(remark)
    return image if size is None else square(image, size), remarks


def _enlarged(image: Image.Image, size: int) -> str | None:
    """A remark on an image that must be enlarged a lot."""
    if 2 * min(image.size) >= size:
        return None
    shape = f"{image.width} x {image.height}"
    return f"is {shape} pixels, enlarged to {size} x {size}; use a larger photograph"


def _decode(file: BinaryIO, path: Path) -> tuple[Image.Image, list[str]]:
    """The whole upright picture as RGB. Every pixel is decoded here, so damage shows here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(file, formats=FORMATS)
        # A phone's JPEG may carry further frames (depth, thumbnails): that is no animation.
        animated = image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False)
        image.load()
        image = _opaque(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise _NotAnImage(f"no {FORMATS_IN_WORDS}; if it is a photograph, convert it") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise InputError(
            f"{shown(path)} has more than {limit:.1f} megapixels; scale it down or remove it"
        ) from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{shown(path)} is damaged ({reason}); replace it by a whole copy or remove it"
        ) from error
    return image, ["is animated; its first frame is used"] if animated else []


def _opaque(image: Image.Image) -> Image.Image:
    """RGB over white, so that no colour hidden by transparency comes back."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip
        levels = np.asarray(image).astype(np.int64)
        grey = (levels + 128) // 257  # 0..65535 -> 0..255, rounded
        grey[levels == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """The centre square of an image, `size` x `size` pixels; not resampled if it has that side."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side == size:
        return image
    finer = side > size
    return image.resize(
        (size, size), Image.Resampling.LANCZOS if finer else Image.Resampling.BICUBIC
    )
