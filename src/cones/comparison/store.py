"""Results kept as files, so that a long comparison goes on where it stopped, in any process.

A cell is one JSON file, named by a hash of all that it depends on and written whole or not at all:
what is there is done. Its pictures may lie beside it as one PNG file, side by side.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cones.errors import InputError
from cones.files.writing import atomic_write
from cones.sampling.pictures import png_bytes

Cell = dict[str, Any]


class Cells:
    """The cells of one folder."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read or made yet."""
        self.folder = folder

    def path(self, label: str, provenance: Mapping[str, Any]) -> Path:
        """Where a cell lies.

        Args:
            label: begins the file's name, for people.
            provenance: all that the cell depends on, as plain JSON types.
        """
        text = json.dumps(provenance, sort_keys=True)
        return self.folder / f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"

    def get(self, path: Path) -> Cell | None:
        """The cell of a path; None where it is not done.

        Raises:
            InputError: the file is no cell.
        """
        if not path.exists():
            return None
        try:
            cell: Cell = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(
                f"{path}: is damaged ({error}); remove it, and it is measured again"
            ) from error
        return cell

    def put(self, path: Path, cell: Cell, pictures: Sequence[Image.Image] = ()) -> None:
        """Writes a cell, its pictures first."""
        if pictures:
            atomic_write(pictures_of(path), png_bytes(strip(pictures), {}))
        atomic_write(path, json.dumps(cell, indent=1).encode())


def pictures_of(path: Path) -> Path:
    """Where the pictures of a cell lie."""
    return path.with_suffix(".png")


def strip(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size side by side."""
    width, height = pictures[0].size
    image = Image.new("RGB", (width * len(pictures), height))
    for k, picture in enumerate(pictures):
        image.paste(picture, (k * width, 0))
    return image


def part(text: str) -> tuple[int, int]:
    """What share of the work a process does: `1/2` -> (0, 2), the first of two.

    Raises:
        InputError: it is no such share.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"split: expected i/n with 1 <= i <= n, as in 1/2, found {text!r}")
    return int(number) - 1, int(count)


def files_hash(paths: Iterable[Path]) -> str:
    """A hash of what files hold, in their order; 16 hex digits."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]
