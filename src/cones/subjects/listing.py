"""What lies in a folder, in order, and which of it is a photograph by its name."""

import re
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Literal

from cones.errors import InputError
from cones.files.paths import did_you_mean, local_name
from cones.files.writing import shown
from cones.subjects.imagefiles import SUFFIXES, kind_of, read_head, unreadable

TEXT_SUFFIXES = {".txt", ".caption", ".json", ".jsonl", ".csv"}
QUIET = {"metadata.jsonl", "metadata.csv", "thumbs.db", "desktop.ini"}  # nobody needs telling
# What a mask is called beside `a.png`: a-masklabel.png, a_mask.png, a.mask.png, mask_a.png, ...
_KINDS = "mask|masks|masklabel|condlabel|alpha|matte|seg|segmentation"
_MASK = re.compile(rf"(.+?)[ ._-]+\(?(?:{_KINDS})\)?[ ._-]?\d*", re.IGNORECASE)
_MASK_FIRST = re.compile(rf"(?:{_KINDS})[ ._-]+(.+)", re.IGNORECASE)

Role = Literal["subject", "class"]
WANTED = {"subject": "the subject's photographs", "class": "images of the class"}
Source = Path | Sequence[Path]


def photo_files(folder: Path) -> list[Path]:
    """The files directly in a folder that are photographs by name or first bytes; none is decoded.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    found = entries(folder, "subject")
    masked = masks(found)
    return [path for path in found if not reason_to_skip(path, masked) and _is_meant(path)]


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Orders names as people do: runs of digits count as numbers, case does not."""
    parts = re.split(r"(\d+)", name.casefold())  # text, digits, text, digits, ...
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def matches(pattern: Path) -> list[Path]:
    """The files that a pattern such as `photos/*.png` stands for; none if it is a path itself."""
    if "\0" in str(pattern) or pattern.exists():
        return []
    return [path for path in map(Path, glob(str(pattern))) if path.is_file()]


def entries(source: Source, role: Role) -> list[Path]:
    """All that lies directly in a folder, or the files given, in natural order.

    Raises:
        InputError: there is no such folder or file, or it cannot be read.
    """
    if not isinstance(source, Path) and not source:
        raise InputError("photographs: expected at least one file, found none; name some")
    try:
        if isinstance(source, Path):
            source = Path(local_name(source))
        files = matches(source) if isinstance(source, Path) else list(source)
        if not files and isinstance(source, Path):
            files = _listed(source, role)
        if gone := [path for path in files if not path.exists() and not path.is_symlink()]:
            raise InputError(f"{shown(gone[0])} does not exist; check the path")
    except (OSError, ValueError) as error:  # ValueError: a null in the name
        raise InputError(unreadable(Path(place(source)), error)) from error
    return sorted(files, key=lambda path: natural_key(path.name))


def _listed(folder: Path, role: Role) -> list[Path]:
    name = place(folder, role)
    if not folder.exists():
        meant = did_you_mean(folder) or f"; give the folder of {WANTED[role]}"
        raise InputError(f"{name} does not exist{meant}")
    if not folder.is_dir():
        raise InputError(f"{name} is a file; give the folder of {WANTED[role]}")
    return list(folder.iterdir())


def place(source: Source, role: Role = "subject") -> str:
    """What to call a folder, or some files, in a message."""
    path = source if isinstance(source, Path) else source[0].parent
    return f"the class folder {shown(path)}" if role == "class" else shown(path)


def masks(entries: Sequence[Path]) -> set[Path]:
    """Those named as the masks of others."""
    images = [path for path in entries if path.suffix.lower() in SUFFIXES]
    names = {name.casefold() for path in images for name in (path.stem, path.name)}
    found = set()
    for path in images:
        told = _MASK.fullmatch(path.stem) or _MASK_FIRST.fullmatch(path.stem)
        if told and told[1].casefold() in names:
            found.add(path)
    return found


def reason_to_skip(path: Path, masks: set[Path]) -> str | None:
    """Why an entry is not even opened."""
    if path.name.startswith("."):
        return "hidden"
    if path.is_dir():
        return "a folder; only the photographs directly in the given folder are read"
    if not path.is_file():
        return "not a regular file"
    if path in masks:
        return "named as the mask of another"
    if path.suffix.lower() in TEXT_SUFFIXES:  # one that begins "BM" would pass for a BMP image
        return "captions or metadata"
    return None


def _is_meant(path: Path) -> bool:
    """Whether a file is an image, or is called like one."""
    return path.suffix.lower() in SUFFIXES or kind_of(read_head(path)) is not None
