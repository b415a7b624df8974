"""Subjects as folders: which of a tree hold photographs, and what class of thing each shows."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from cones.errors import InputError
from cones.photos import natural_key, photo_files, shown

METADATA = "metadata.jsonl"


def subject_folders(tree: Path) -> list[Path]:
    """The folders of a tree with photographs directly in them; the tree itself may be one.

    In natural order, each before those in it. Links are followed, and a folder comes once; hidden
    ones are left out. One that cannot be read is among them: who reads it is told why.

    Raises:
        InputError: `tree` is no folder, or there are none.
    """
    if not tree.is_dir():
        raise InputError(f"{shown(tree)}: is no folder; give one that holds a folder per subject")
    found, seen, ahead = [], set(), [tree]
    while ahead:
        folder = ahead.pop()
        if (place := folder.resolve()) in seen:
            continue
        seen.add(place)
        try:
            if photo_files(folder):
                found.append(folder)
            below = [each for each in folder.iterdir() if each.is_dir() and each.name[0] != "."]
        except (InputError, OSError):
            found.append(folder)
            continue
        ahead += sorted(below, key=lambda each: natural_key(each.name), reverse=True)
    if not found:
        raise InputError(
            f"{shown(tree)}: expected folders with photographs, such as robot-1, found none; give "
            "the folder above them"
        )
    return found


def class_noun(folder: Path) -> str:
    """What kind of thing the subject of a folder is.

    Returns:
        The class that `metadata.jsonl` tells, else the folder's name without a number at its end:
        "wooden-chair-2" -> "wooden chair".

    Raises:
        InputError: `metadata.jsonl` is damaged.
    """
    told = metadata(folder).get("class")
    name = re.sub(r"\d+$", "", folder.absolute().name)
    return str(told or re.sub(r"[-_\s]+", " ", name).strip())


def photographs_hash(folder: Path) -> str:
    """What tells the photographs of a folder from others: 16 hex digits of their files' bytes.

    Raises:
        InputError: the folder, or a file, cannot be read.
    """
    digest = hashlib.sha256()
    for path in photo_files(folder):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(f"{shown(path)} cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:16]


def metadata(folder: Path) -> dict[str, Any]:
    """The first line of a folder's `metadata.jsonl`; empty where there is no such file.

    Raises:
        InputError: it is no JSON object.
    """
    path = folder / METADATA
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8").splitlines()[0]))
    except (ValueError, LookupError, TypeError) as error:
        raise damaged_metadata(folder, error) from error


def damaged_metadata(folder: Path, error: Exception) -> InputError:
    """The error of a `metadata.jsonl` that tells something else than it should."""
    return InputError(
        f"{folder / METADATA}: expected one JSON object a line, as `python -m "
        f"cones.toybox.render` writes it, found something else ({error}); mend it or remove it"
    )
