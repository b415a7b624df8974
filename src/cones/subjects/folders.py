"""Subjects as folders: which of a tree hold photographs, and what class of thing each shows."""

import hashlib
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cones.errors import InputError
from cones.files.paths import did_you_mean
from cones.files.textfiles import bad_line, json_kind, read_json_lines
from cones.files.writing import shown
from cones.subjects.listing import natural_key, photo_files

METADATA = "metadata.jsonl"
ARTICLES = ("a", "an", "the")
MAX_NOUN = 100  # characters
_KOHYA = re.compile(r"(\d+)_(.+)")  # repeats, then token and class
_REGULARISATION = re.compile(r"reg(\W|_|s$|$)|regulari[sz]ation", re.IGNORECASE)

log = logging.getLogger("cones")


def subject_folders(tree: Path) -> list[Path]:
    """The folders of a tree with photographs directly in them; the tree itself may be one.

    In natural order, each before those in it. Links are followed, and a folder comes once; hidden
    ones are left out. One that cannot be read is among them: who reads it is told why. kohya's
    folders of class images, `reg/1_robot`, and those of masks are left out with a warning.

    Raises:
        InputError: `tree` is no folder, or there are none.
    """
    if not tree.is_dir():
        meant = did_you_mean(tree) or "; give one that holds a folder per subject"
        raise InputError(f"{shown(tree)}: is no folder{meant}")
    found, seen, ahead = [], set(), [tree]
    while ahead:
        folder = ahead.pop()
        if (place := folder.resolve()) in seen:
            continue
        seen.add(place)
        try:
            if photo_files(folder):
                if reason := _no_subject(folder):
                    log.warning("%s: was left out: %s", shown(folder), reason)
                    continue
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
        "wooden-chair-2" -> "wooden chair"; kohya's "10_sks robot" -> "robot".

    Raises:
        InputError: `metadata.jsonl` is damaged, or tells no class or two.
    """
    told = ""
    for line, entry in metadata(folder):
        if "class" not in entry:
            continue
        noun = entry["class"]
        if not isinstance(noun, str) or noun_fault(noun):
            expected = 'a "class" such as "robot"'
            fault = noun_fault(noun) if isinstance(noun, str) else json_kind(noun)
            raise bad_line(folder / METADATA, line, expected, fault or "")
        if told and noun != told:
            raise bad_line(folder / METADATA, line, f"the class {told!r}, as before", repr(noun))
        told = noun
    return told or _named(folder)[1]


def own_token(folder: Path) -> str | None:
    """The token that kohya's name of a folder tells: "10_sks robot" -> "sks"."""
    return _named(folder)[0]


def noun_fault(noun: str, token: str = "") -> str | None:
    """What is wrong with a class noun, in the words that come after "found"; None if it is right.

    Args:
        noun: what goes into prompts behind the token.
        token: of the same subject; the noun does not say it again.
    """
    words = noun.split()
    others = [word for word in words if word.casefold() != token.casefold()]
    if len(noun) > MAX_NOUN:
        return f"{len(noun):,} characters"
    if not noun.isprintable() or not any(letter.isalpha() for letter in noun):
        return ascii(noun)
    if noun != " ".join(words):
        return f"{noun!r}, with spaces too many"
    if words[0].casefold() in ARTICLES:
        return f"{noun!r}, with an article"
    return f"{noun!r}, with the token in it" if 0 < len(others) < len(words) else None


def _named(folder: Path) -> tuple[str | None, str]:
    """Token, if any, and class that a folder's name tells."""
    name = folder.absolute().name
    token = None
    if kohya := _KOHYA.fullmatch(name):
        name = kohya[2]
        if len(words := re.split(r"[_\s]+", name, maxsplit=1)) == 2:
            token, name = words
    return token, re.sub(r"[-_\s]+", " ", re.sub(r"\d+$", "", name)).strip()


def _no_subject(folder: Path) -> str | None:
    """Why a folder with images in it is none of a subject, by its name."""
    place = folder.absolute()
    if _KOHYA.fullmatch(place.name) and _REGULARISATION.match(place.parent.name):
        return "kohya's class images, no subject; give them to a search for one: --class_data_dir"
    if place.name.casefold() in ("mask", "masks", "masklabel", "masklabels"):
        return "masks, no subject" if photo_files(place.parent) else None
    return None


def warn_of_twins(hashes: Iterable[tuple[Path, str]]) -> None:
    """Warns of folders of subjects that hold the same photographs.

    Args:
        hashes: each folder with the hash of its photographs.
    """
    first: dict[str, Path] = {}
    for folder, found in hashes:
        if (same := first.setdefault(found, folder)) != folder:
            log.warning(
                "%s: holds the same photographs as %s; they stand for two subjects",
                shown(folder),
                shown(same),
            )


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


def metadata(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    """The entries of a folder's `metadata.jsonl`, each with its line; none if there is no file.

    Raises:
        InputError: a line is no JSON object.
    """
    path = folder / METADATA
    return read_json_lines(path) if path.is_file() else []
