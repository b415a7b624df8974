"""Paths as people write them: the home folder for `~`, and the name that was meant."""

import os
from difflib import get_close_matches
from pathlib import Path

from cones.errors import InputError


def local_path(path: str | os.PathLike[str]) -> Path:
    """A path with the home folder for `~` and `~user`.

    Raises:
        InputError: it is no path, empty, holds a null, or names a user who is not known here.
    """
    text = _spelled(path)
    if not text.strip():
        raise InputError(f"expected a path, found {text!r}")
    if "\0" in text:
        raise InputError(f"expected a path, found a null character in {text!r}")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{text}: no home folder is known for {Path(text).parts[0]}; write the whole path"
        ) from error


def local_name(name: str | os.PathLike[str]) -> str:
    """A name, or a path with the home folder for `~`; errors as for `local_path`."""
    text = _spelled(name)
    return str(local_path(text)) if text.startswith("~") else text


def _spelled(path: object) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise InputError(f"expected a path, found a {type(path).__name__}")
    return text


def did_you_mean(path: Path) -> str:
    """Advice on a path that does not exist: "; did you mean robot.safetensors?", or nothing.

    It names what is most alike in the same folder; where the folder does not exist either, that
    folder.
    """
    if os.path.lexists(path):
        return ""
    missing = path
    while not os.path.exists(missing.parent) and missing.parent != missing:
        missing = missing.parent
    try:
        names = os.listdir(missing.parent)
    except OSError:
        return ""
    alike = {name.casefold(): name for name in names if name.isprintable()}
    found = get_close_matches(missing.name.casefold(), alike, n=1)
    if found:
        return f"; did you mean {missing.parent / alike[found[0]]}?"
    return "" if missing == path else f"; there is no folder {missing}"
