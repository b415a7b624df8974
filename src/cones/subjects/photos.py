"""A folder of photographs -> RGB images, whatever the files are.

What can be used is used, and whatever had to be done to it is said in `Photos.notes`. What is no
photograph is skipped and listed in `Photos.skipped`. An image that is damaged or too large is an
error that names it: the user meant it to be used.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cones.errors import InputError
from cones.files.writing import shown
from cones.models.images import square
from cones.subjects.imagefiles import (
    FORMATS_IN_WORDS,
    SUFFIXES,
    NotAnImage,
    read_image,
    upright_rgb,
)
from cones.subjects.listing import (
    QUIET,
    WANTED,
    Role,
    Source,
    entries,
    masks,
    place,
    reason_to_skip,
)

Array = npt.NDArray[np.generic]
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


def load_photos(source: Source, size: int | None = None, role: Role = "subject") -> Photos:
    """Read every photograph that lies directly in a folder, or those of some files.

    Args:
        source: a folder, a pattern such as `photos/*.png`, or files. What is no JPEG, PNG, WebP,
            BMP, AVIF or HEIC image in it is skipped, and so are the masks of others.
        size: side of the square images, in pixels; None leaves each at the size it has, uncut.
        role: what they are to show, for messages.

    Raises:
        InputError: no such folder, no image in it, or an image that cannot be used.
    """
    images: list[Image.Image] = []
    paths: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    notes: list[str] = []
    first_with: dict[str, Path] = {}
    files = entries(source, role)
    masked = masks(files)
    for path in files:
        try:
            if reason := reason_to_skip(path, masked):
                raise NotAnImage(reason)
            image, remarks = _read(path, size)
        except NotAnImage as error:
            skipped.append((path, str(error)))
            continue
        images.append(image)
        paths.append(path)
        notes += [f"{shown(path)} {remark}" for remark in remarks]
        same = first_with.setdefault(pixels_digest(image), path)
        if same != path:
            notes.append(f"{shown(path)} is the same picture as {shown(same)} and weighs double")
    if not images:
        raise InputError(_nothing_found(source, skipped, role))
    if len(images) == 1 and role == "subject":
        notes.append(
            f"{place(source)} holds one photograph only; three to six in different places tell"
            " the subject from its surroundings"
        )
    return Photos(tuple(images), tuple(paths), tuple(skipped), (*_said(skipped), *notes))


def load_photo(path: Path, size: int | None = None) -> Image.Image:
    """Read one photograph: upright, opaque sRGB, cut to the centre square and scaled.

    Args:
        path: a JPEG, PNG, WebP, BMP, AVIF or HEIC file.
        size: side of the result, in pixels; a file that has this size already is not resampled.
            None leaves it at the size it has, uncut.

    Returns:
        RGB, `size` x `size` pixels if a size is given.

    Raises:
        InputError: the file is missing, unreadable, damaged, too large or no such image.
    """
    try:
        return _read(path, size)[0]
    except NotAnImage as error:
        raise InputError(f"{shown(path)} cannot be used: {error}") from None


def rgb_images(images: object, name: str) -> tuple[Image.Image, ...]:
    """Images given in Python, upright, opaque and sRGB as those from files are.

    Args:
        images: Pillow's images of any mode that tells colours, or arrays of uint8 or uint16
            `[height, width]` or `[height, width, 1, 3 or 4]`.
        name: what to call them in messages.

    Raises:
        InputError: they are no such images.
    """
    single = isinstance(images, Image.Image | str | bytes) or getattr(images, "ndim", 4) != 4
    if single or not isinstance(images, Iterable):
        raise InputError(
            f"{name}: expected a sequence of images, found {_found(images)}; give (image,) for "
            "one, or read a folder with cones.Subject.from_folder"
        )
    return tuple(_rgb(image, f"{name}: image {k}") for k, image in enumerate(images, 1))


def _rgb(image: object, name: str) -> Image.Image:
    try:
        opened = _from_array(image) if isinstance(image, np.ndarray) else image
        if isinstance(opened, Image.Image) and min(opened.size) > 0:
            return upright_rgb(opened)[0]
    except Exception as error:  # decoders raise nearly anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{name}: cannot be used ({reason}); convert it to mode RGB") from error
    raise InputError(
        f"{name}: expected an image of Pillow or an array of uint8 [height, width, 3], found "
        f"{_found(image)}; convert it"
    )


def _from_array(array: Array) -> Image.Image | None:
    """An array as an image; None for one of another type or shape."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and array.shape[2:] not in ((3,), (4,)):
        return None
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array)) if array.dtype == np.uint8 else None


def _found(value: object) -> str:
    """The kind of a value, for arrays and tensors with type and shape."""
    shape, kind = getattr(value, "shape", None), type(value).__name__
    return kind if shape is None else f"{kind} of {getattr(value, 'dtype', '?')} {list(shape)}"


def pixels_digest(image: Image.Image) -> str:
    """The same for two pictures if and only if all their pixels are."""
    return sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def _said(skipped: Sequence[tuple[Path, str]]) -> list[str]:
    """A line for each reason why something was skipped, with the first and how many more."""
    reasons: dict[str, list[Path]] = {}
    for path, reason in skipped:
        if not path.name.startswith(".") and path.name.lower() not in QUIET:
            reasons.setdefault(reason, []).append(path)
    return [f"{_first(paths)} skipped: {reason}" for reason, paths in reasons.items()]


def _first(paths: Sequence[Path]) -> str:
    name = shown(paths[0])
    return f"{name} was" if len(paths) == 1 else f"{name} and {len(paths) - 1} more were"


def _nothing_found(source: Source, skipped: Sequence[tuple[Path, str]], role: Role) -> str:
    name, wanted = place(source, role), WANTED[role]
    if not skipped:
        return f"{name} is empty; put {wanted} into it"
    if not isinstance(source, Path):  # files that were named
        path, reason = skipped[0]
        return f"{shown(path)} cannot be used: {reason}; name {wanted}"
    meant = [
        (Path(path.name), reason)
        for path, reason in skipped
        if path.suffix.lower() in SUFFIXES and not path.is_dir()
    ]
    if said := _said(meant):
        return f"{name} holds none of {wanted} that can be read: {said[0]}"
    if below := [path for path, _ in skipped if path.is_dir() and path.name[0] != "."]:
        return f"{name} holds {wanted} at most in folders in it; name {shown(below[0])} itself"
    names = ", ".join(shown(Path(path.name)) for path, _ in skipped[:3])
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return f"{name} holds no {FORMATS_IN_WORDS}, only {names}{more}; put {wanted} directly into it"


def _read(path: Path, size: int | None) -> tuple[Image.Image, list[str]]:
    """The finished image, and remarks that go on from the file's name."""
    image, remarks = read_image(path)
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
