"""Text that people wrote, prompts and metadata: UTF-8, with or without a byte-order mark."""

import codecs
import json
from pathlib import Path
from typing import Any

from cones.errors import InputError
from cones.files.paths import did_you_mean
from cones.files.strict_json import parse_json
from cones.files.writing import shown

MAX_BYTES = 2**24  # far more than anybody writes; a device that never ends is no text either
MAX_LINE = 2**20  # characters
ENTRY = "one JSON object"
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> list[str]:
    r"""The lines of a text file, whether they end in `\n`, `\r\n` or `\r`; without marks.

    Raises:
        InputError: the file cannot be read, is too large, or is no UTF-8.
    """
    data = _bytes(path)
    if data.startswith(_WIDE) or b"\0" in data:
        raise InputError(
            f"{shown(path)}: expected UTF-8 text, found UTF-16 or no text at all; save it as UTF-8"
        )
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{shown(path)}: line {wrong}: expected UTF-8 text, found the byte "
            f"{data[error.start]:#04x}, as in Latin-1 or Windows-1252; save it as UTF-8"
        ) from error
    lines = [line.removeprefix("\ufeff") for line in text.split("\n")]  # joined files have several
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise InputError(
                f"{shown(path)}: line {number}: expected at most {MAX_LINE:,} characters, found "
                f"{len(line):,}; shorten it"
            )
    return lines


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file, one a line; empty lines are none.

    Raises:
        InputError: there is none, or `read_text` refuses.
    """
    prompts = [line.strip() for line in read_text(path) if line.strip()]
    if not prompts:
        raise InputError(f"{shown(path)}: holds no prompt; write one on each line")
    return prompts


def read_json_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file, one a line, each with the number of its line.

    Raises:
        InputError: a line holds something else, there is none, or `read_text` refuses.
    """
    lines = [(number, line) for number, line in enumerate(read_text(path), 1) if line.strip()]
    if not lines:
        raise bad_line(path, 1, ENTRY, "nothing")
    return [(number, _object(path, number, line)) for number, line in lines]


def bad_line(path: Path, line: int, expected: str, found: str) -> InputError:
    """The error of a line that tells something else than it should.

    Args:
        path: of the file.
        line: its number, from 1.
        expected: what the line should tell.
        found: what it tells.
    """
    return InputError(
        f"{shown(path)}: line {line}: expected {expected}, found {found}; mend it or remove the "
        "file"
    )


def json_kind(value: object) -> str:
    """What to call a JSON value in a message: itself, or its kind where it may be long."""
    for kind, name in ((str, "a text"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return json.dumps(value)[:20]


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{shown(path)} cannot be read ({reason}){did_you_mean(path) or '; check the path'}"
        ) from error
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{shown(path)}: expected a text file, found more than {MAX_BYTES >> 20} MB; name "
            "another file"
        )
    return data


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = parse_json(line)
    except InputError as error:
        raise bad_line(path, number, ENTRY, f"what {error}") from error
    if not isinstance(value, dict):
        raise bad_line(path, number, ENTRY, json_kind(value))
    return value
