"""How the command line reads values: paths, whole numbers, numbers and shares."""

from collections.abc import Callable
from pathlib import Path

import typer

from cones.checks import check_count
from cones.errors import InputError
from cones.paths import local_path


def path(text: str | Path) -> Path:
    """A path, with the home folder for `~`."""
    try:
        return local_path(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


def place(text: str) -> str:
    """A name, or a path with the home folder for `~`."""
    return str(path(text)) if text.startswith("~") else text


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
