"""Folders that an export fills: there whole, or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cones.errors import InputError
from cones.files.locks import cannot_be_written
from cones.files.paths import local_path


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary folder beside `path`, which takes its place when the block ends.

    Raises:
        InputError: `path` is there already and is no empty folder, or it cannot be written.
    """
    target = Path(os.path.realpath(local_path(path)))
    temporary = target.with_name(f".tmp-{secrets.token_hex(6)}")
    try:
        with cannot_be_written(path):
            if target.exists() and not (target.is_dir() and not any(target.iterdir())):
                raise InputError(f"{path}: is there already; name a new or an empty folder")
            temporary.mkdir(parents=True)
            yield temporary
            if target.exists():
                target.rmdir()
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
