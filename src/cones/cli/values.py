"""How the command line reads values: paths, whole numbers, numbers and shares."""

import os
from collections.abc import Callable
from pathlib import Path

import typer

from cones.checks import check_count
from cones.errors import InputError
from cones.files.paths import did_you_mean, local_name, local_path

MAX_SHOWN = 40  # characters of a value in a message
IN_QUOTES = "words that belong together need quotes"


def path(text: str | Path) -> Path:
    """A path, with the home folder for `~`."""
    try:
        return local_path(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


def given(text: str | Path) -> Path:
    """The path of a file or folder that is there."""
    found = path(text)
    if not os.path.lexists(found):
        meant = did_you_mean(found) or ("" if found.suffix else f"; {IN_QUOTES}")
        raise InputError(f"{found}: there is no such file{meant}")
    return found


def result(suffix: str, hint: str) -> Callable[[str | Path], Path]:
    """What reads where a file goes: its name, or a folder."""

    def read(text: str | Path) -> Path:
        found = path(text)
        if found.suffix in ("", suffix) or not _is_file_name(found):
            return found
        raise typer.BadParameter(
            f"expected a name that ends in {suffix}, or a folder, found {found.name}; write "
            f"{found.with_suffix(hint)}"
        )

    return read


def picture(text: str | Path) -> Path:
    """Where a picture goes: a name that ends in .png, which is added where nothing is; a folder."""
    found = result(".png", ".png")(text)
    return found if found.suffix or found.is_dir() else found.with_suffix(".png")


def folder(text: str | Path) -> Path:
    """Where files go."""
    found = path(text)
    if _is_file_name(found):
        raise typer.BadParameter(
            f"expected a folder, found {found.name}, which looks like a file; write "
            f"{found.with_suffix('')}"
        )
    return found


def _is_file_name(found: Path) -> bool:
    """Whether it ends as a file's name does and is no folder that exists."""
    return found.suffix[1:2].isalpha() and not found.is_dir()


def place(text: str) -> str:
    """A name, or a path with the home folder for `~`."""
    if not text.strip():
        raise typer.BadParameter(f"expected a name or a path, found {text!r}")
    return local_name(text)


def shortened(value: object) -> str:
    """A value in a message, of which a long one shows its beginning."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def words(text: str) -> str:
    """A text that says something."""
    if not text.strip():
        raise typer.BadParameter(f"expected some words, found {text!r}")
    return text


def whole(least: int, most: int | None = None) -> Callable[[str | int], int]:
    """What reads whole numbers in a range."""

    def read(text: str | int) -> int:
        try:
            return check_count("", int(text), least, most)
        except InputError as error:
            raise typer.BadParameter(str(error).removeprefix(": ")) from error
        except ValueError as error:
            raise typer.BadParameter(f"expected a whole number, found {text!r}") from error

    return read


def number(text: str | float) -> float:
    """A number as `0.5`, `.5`, `5e-1`."""
    try:
        return float(text)
    except ValueError as error:
        advice = ""
        if isinstance(text, str) and text.count(",") == 1 and "." not in text:
            advice = f"; write {text.strip().replace(',', '.')}"
        raise typer.BadParameter(f"expected a number, found {text!r}{advice}") from error


def density(text: str | float) -> float | str:
    """A share of the weights as `0.025` or `2.5%`, or `auto`."""
    if isinstance(text, str) and text.strip() == "auto":
        return "auto"
    percent = isinstance(text, str) and text.rstrip().endswith("%")
    found = number(text.rstrip().removesuffix("%") if isinstance(text, str) else text)
    if percent:
        found = float(f"{found:.12g}e-2")  # as the same share in digits
    if percent and not 0 < found < 1:
        raise typer.BadParameter(f"expected more than 0% and less than 100%, found {text}")
    if 1 <= found <= 100:
        raise typer.BadParameter(
            f"expected a share of the weights, less than 1, found {text}; for {found:g} percent "
            f"write {found:g}%"
        )
    return found
