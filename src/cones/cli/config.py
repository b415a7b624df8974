"""Options in a file: what `--config FILE` reads, and `cones inspect FILE --config` writes."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from cones.cli import values
from cones.errors import InputError

Settings = Mapping[str, Any]


def read_settings(path: Path) -> Settings:
    """Read a file of options: JSON if it begins with a brace, else TOML.

    Raises:
        InputError: the file cannot be read, or is neither.
    """
    from cones.files.strict_json import parse_json
    from cones.files.textfiles import read_text

    text = "\n".join(read_text(values.given(path)))
    try:
        found = parse_json(text) if text.lstrip()[:1] == "{" else tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f'{path}: cannot be read as TOML ({error}); write an option a line, token = "sks"'
        ) from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    settings: Settings = found
    return settings


def as_words(option: Any, value: object, where: str) -> Iterator[str]:
    """Write a setting as it is typed on a command line.

    Args:
        option: of typer's, which the setting is for.
        value: a text, a number, true or false; or a list of them where the option may be repeated.
        where: what to call the setting in a message.

    Raises:
        typer.BadParameter: the option does not take such a value.
    """
    if option.is_flag:
        if not isinstance(value, bool):
            raise typer.BadParameter(f"{where}: expected true or false, found {_shown(value)}")
        yield from (option.opts if value else option.secondary_opts)[:1]
        return
    several = value if isinstance(value, list) and option.multiple else [value]
    for each in several:
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            lists = " or a list of them" if option.multiple else ""
            raise typer.BadParameter(
                f"{where}: expected a text or a number{lists}, found {_shown(each)}"
            )
        yield f"{option.opts[0]}={each}"


def to_toml(settings: Settings) -> str:
    """Write settings as TOML, one a line."""
    return "".join(f"{name} = {_toml(value)}\n" for name, value in settings.items())


def _toml(value: object) -> str:
    """A value in ASCII. TOML's texts are JSON's, but for how they escape what is not ASCII."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if " " <= c <= "~" else f"\\U{ord(c):08x}" for c in text)


def _shown(value: object) -> str:
    kinds = {list: "a list", dict: "a table", type(None): "nothing"}
    return kinds.get(type(value)) or values.shortened(value)
