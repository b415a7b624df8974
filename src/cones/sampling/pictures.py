"""Pictures that were drawn: with what it takes to draw them again, as PNG files, as one sheet."""

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from cones.checks import check_number
from cones.errors import InputError
from cones.files.locks import claimed
from cones.files.writing import atomic_write, writable_folder
from cones.subjects.pngtext import read_png_texts
from cones.text import printable

MARK = "cones"  # the key of provenance that every picture of ours has: the package's version
KIND = "cones-figure"  # the key of what a sheet or figure shows
MAX_LABEL = 300  # characters of a label in a sheet
_NUMBERED = re.compile(r"(\d{4,})-seed")
MAX_PIXELS = 50_000_000  # of the pictures in a sheet, which every program can open then
_GAP = 6  # pixels between the parts of a sheet
_MAX_LABEL_LINES = 8  # of a label above a column


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Picture:
    """A picture and where it comes from.

    Attributes:
        image: RGB.
        prompt: what was asked for.
        seed: of its noise.
        provenance: all that it takes to draw it again, see `cones.sampling.generate.generate`.
    """

    image: Image.Image
    prompt: str
    seed: int
    provenance: Mapping[str, str]


def save_pictures(pictures: Iterable[Picture], folder: str | os.PathLike[str]) -> list[Path]:
    """Writes each picture as a PNG file with its provenance in text chunks.

    Files are called `0000-seed0-a-photo-of-a-robot.png`. The numbers go on from the largest that is
    in the folder already, so nothing is overwritten,
    also where several commands draw into one folder. Each file is written whole or not at all.

    Args:
        pictures: in the order of their numbers.
        folder: made if it does not exist.

    Returns:
        The paths of the files.

    Raises:
        InputError: the folder cannot be written, or is a file.
    """
    place = writable_folder(folder)
    paths = []
    for picture in pictures:
        data = png_bytes(picture.image, picture.provenance)
        with claimed(place / "numbers", wait=60):  # of several commands one counts at a time
            number = 1 + max(_numbers(place), default=-1)
            path = place / f"{number:04d}-seed{picture.seed}{_slug(picture.prompt)}.png"
            atomic_write(path, data, new=True)
        paths.append(path)
    return paths


def _numbers(folder: Path) -> list[int]:
    """Those that files in a folder begin with."""
    return [int(match[1]) for each in folder.iterdir() if (match := _NUMBERED.match(each.name))]


def png_bytes(image: Image.Image, texts: Mapping[str, str]) -> bytes:
    """A PNG file with texts in it.

    Args:
        image: the picture.
        texts: keyword -> text; `{KIND: "overlap"}` says which command makes the file anew.
    """
    chunks, buffer = PngInfo(), BytesIO()
    for key, text in texts.items():
        write = chunks.add_text if text.isascii() else chunks.add_itxt
        write(key, text)
    image.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """What a PNG file says under `KIND`; None if it says nothing, or is none that can be read."""
    try:
        return read_png_texts(path).get(KIND)
    except InputError:
        return None


def read_provenance(path: str | os.PathLike[str]) -> dict[str, str]:
    """What `save_pictures` has written into a PNG file beside the picture.

    Raises:
        InputError: there is no such file, or it is no PNG file of `save_pictures`.
    """
    found = read_png_texts(path)
    if MARK not in found:
        raise InputError(
            f"{path}: expected a picture that cones has drawn, found none of its text in it; other "
            "programs drop it when they save a picture, name the original"
        )
    return found


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    scale: float | None = None,
) -> Image.Image:
    """Many pictures as one, with labels on the left and above, on white.

    Args:
        rows: of pictures; all get the size of the largest, and a row may be shorter than others.
        row_labels: one for each row, or none.
        column_labels: one for each column, or none.
        scale: how much larger (smaller, below 1) the pictures are to be; None makes those that are
            less than 128 pixels wide 128, and those that are more than 256 wide 256. Either is less
            where the sheet would be too large to be opened. Labels are cut to the place they have.

    Returns:
        RGB, as large as it needs to be.

    Raises:
        InputError: there is no picture, the labels are not as many as rows or columns, or the scale
            is not positive.
    """
    columns = max((len(row) for row in rows), default=0)
    _require_sheet(len(rows), columns, row_labels, column_labels, scale)
    sizes = [image.size for row in rows for image in row]
    width, height = _cell(sizes, scale, MAX_PIXELS / (len(rows) * columns))
    points = min(max(width / 9, 12), 20)
    font, lines = ImageFont.load_default(size=points), max(1, int(height / (1.5 * points)))
    row_labels = [_wrapped(label, font, max(width, 110), lines) for label in row_labels]
    column_labels = [_wrapped(label, font, width, _MAX_LABEL_LINES) for label in column_labels]
    left, top = _label_size(row_labels, font)[0], _label_size(column_labels, font)[1]
    shape = (left + columns * (width + _GAP) + _GAP, top + len(rows) * (height + _GAP) + _GAP)
    sheet = Image.new("RGB", shape, "white")
    pen = ImageDraw.Draw(sheet)
    for column, label in enumerate(column_labels):
        corner = (left + _GAP + column * (width + _GAP), _GAP)
        pen.multiline_text(corner, label, "black", font)
    for y, row in enumerate(rows):
        above = top + _GAP + y * (height + _GAP)
        if row_labels:
            pen.multiline_text((_GAP, above), row_labels[y], "black", font)
        for x, image in enumerate(row):
            scaled = image.resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(scaled, (left + _GAP + x * (width + _GAP), above))
    return sheet


def _slug(prompt: str) -> str:
    """A prompt as a part of a file name that every system takes: ASCII letters, digits, hyphens."""
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain)
    return "-".join(["", *words])[:60].rstrip("-")


def _cell(sizes: Sequence[tuple[int, int]], scale: float | None, most: float) -> tuple[int, int]:
    """Width and height of the place for a picture, of at most so many pixels."""
    width, height = (max(sides) for sides in zip(*sizes, strict=True))
    scale = min(max(width, 128), 256) / width if scale is None else scale
    scale = min(scale, math.sqrt(most / (width * height)))
    return max(1, round(scale * width)), max(1, round(scale * height))


def _require_sheet(
    rows: int,
    columns: int,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    scale: float | None,
) -> None:
    if not columns:
        raise InputError("contact sheet: expected at least one picture, found none")
    if scale is not None:
        check_number("contact sheet: scale", scale, above=0)
    for what, labels, count in (("row", row_labels, rows), ("column", column_labels, columns)):
        if len(labels) not in (0, count):
            raise InputError(
                f"contact sheet: expected {count} {what} labels or none, found {len(labels)}"
            )


def _label_size(labels: Sequence[str], font: Font) -> tuple[int, int]:
    """Width and height that the largest label takes, with a gap; (0, 0) without labels."""
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    boxes = [pen.multiline_textbbox((0, 0), label, font) for label in labels]
    sides = (max((box[side] for box in boxes), default=-_GAP) for side in (2, 3))
    width, height = (round(side) + _GAP for side in sides)
    return width, height


def _wrapped(text: str, font: Font, width: float, most: int) -> str:
    """A text, or its beginning, in at most so many lines of which none is wider."""
    lines: list[str] = []
    for word in printable(" ".join(text.split()), MAX_LABEL).split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines += _broken(word, font, width)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1][:-1]}\N{HORIZONTAL ELLIPSIS}"]
    return "\n".join(lines)


def _broken(word: str, font: Font, width: float) -> list[str]:
    """A word in pieces of which none is wider, but of at least a letter each."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces
