"""Results kept in files of JSON lines, so that a long comparison goes on where it stopped.

A line is one result: `key`, which ends in a hash of all that the result depends on; its figures;
and `provenance`, which is what was hashed. A line is appended whole, in any of several processes,
and never changed: what is there is done. What belongs to a result, a picture or an artifact, is a
file of that name in the folder that is named as the file of lines is.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from PIL import Image

from cones.errors import InputError
from cones.files.locks import cannot_be_written, claimed
from cones.files.strict_json import parse_json
from cones.files.writing import atomic_write
from cones.sampling.pictures import png_bytes

log = logging.getLogger("cones")

Result = dict[str, Any]


def result_key(label: str, provenance: Mapping[str, Any]) -> str:
    """The key of a result.

    Args:
        label: begins it, for people; letters that a file's name may have.
        provenance: all that the result depends on, as plain JSON types.
    """
    text = json.dumps(provenance, sort_keys=True)
    return f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class ResultStore:
    """The results of one file.

    Attributes:
        path: of the file, `*.jsonl`.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is read or made yet."""
        self.path = path
        self._state: tuple[int, ...] = ()  # of the file when it was read
        self._results: dict[str, Result] = {}

    def results(self) -> Mapping[str, Result]:
        """Key -> result, of all that are there now.

        Raises:
            InputError: a line is damaged that is not the last: that one was not written whole.
        """
        if self.path.exists():
            found = self.path.stat()
            state = found.st_ino, found.st_mtime_ns, found.st_size
            if state != self._state:
                self._results, _ = _parsed(self.path.read_bytes(), self.path)
                self._state = state
        return self._results

    def get(self, key: str) -> Result | None:
        """A result; None where it is not done. Errors as for `results`."""
        return self.results().get(key)

    def put(
        self,
        key: str,
        result: Mapping[str, Any],
        provenance: Mapping[str, Any],
        pictures: Sequence[Image.Image] = (),
    ) -> None:
        """Append a result, its pictures first.

        Args:
            key: of `result_key`.
            result: its figures, as plain JSON types.
            provenance: what the key was made of.
            pictures: of one size; they are kept side by side in one PNG file.

        Raises:
            InputError: the file cannot be written, or a line of it is damaged.
        """
        if pictures:
            atomic_write(self.file(key, ".png"), png_bytes(_side_by_side(pictures), {}))
        line = json.dumps({"key": key, **result, "provenance": provenance}).encode() + b"\n"
        with claimed(self.path, wait=60) as target, cannot_be_written(self.path):
            data = target.read_bytes() if target.exists() else b""
            _, end = _parsed(data, self.path)
            with target.open("ab", buffering=0) as file:
                if end < len(data):
                    log.warning("%s: its last line was not written whole, and goes", self.path)
                    file.truncate(end)
                file.write(line if data[:end].endswith(b"\n") or not end else b"\n" + line)
                os.fsync(file.fileno())

    def file(self, key: str, suffix: str) -> Path:
        """Where a file of a result lies."""
        return self.path.with_suffix("") / f"{key}{suffix}"

    def pictures(self, key: str, count: int) -> list[Image.Image]:
        """The pictures of a result, of which there are `count`."""
        with Image.open(self.file(key, ".png")) as image:
            width = image.width // count
            boxes = [(k * width, 0, (k + 1) * width, image.height) for k in range(count)]
            return [image.crop(box) for box in boxes]

    def claimed(self, key: str, wait: float) -> AbstractContextManager[Path]:
        """Keep a result for this process while it is measured.

        Args:
            key: the result's.
            wait: seconds to wait for another process that measures it.

        Raises:
            BusyError: another process still does.
        """
        return claimed(self.path.parent / key, wait)


def _parsed(data: bytes, path: Path) -> tuple[dict[str, Result], int]:
    """The results of a file, and the length of all but a last line that is damaged."""
    results: dict[str, Result] = {}
    lines, end = data.splitlines(keepends=True), 0
    for number, line in enumerate(lines, start=1):
        try:
            result = parse_json(line)
            results[result["key"]] = result
        except (InputError, TypeError, LookupError) as error:
            if number == len(lines):
                break
            raise InputError(
                f"{path}: line {number} is damaged ({error}); remove it, and it is measured again"
            ) from error
        end += len(line)
    return results, end


def _side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
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
