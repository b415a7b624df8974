"""Locks: a file is written by one process at a time, and what dead ones have left is removed."""

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cones.errors import BusyError, InputError
from cones.files.paths import local_name

if TYPE_CHECKING:
    from filelock import FileLock

WAIT = 1.0  # seconds for a lock that another process may just be looking at
_STALE = re.compile(r"(\.tmp-[0-9a-f]{12})\b")

_guard = threading.RLock()  # guards what follows
_held: "dict[Path, tuple[FileLock, int]]" = {}  # lock file -> its lock, how often it is held here
_cleared: set[Path] = set()  # folders in which stale files were looked for


@contextmanager
def claimed(path: str | os.PathLike[str], wait: float = WAIT) -> Iterator[Path]:
    """Keeps a file for this process: while the block runs no other one writes it.

    The lock is a file `.tmp-<hash of the name>.lock` beside `path`, and what is written first goes
    to a file whose name begins likewise. A process that ends in any way frees its lock; the next
    one that writes in that folder removes what such processes have left. Blocks may be nested, in
    several threads too. Missing parent folders are made.

    Args:
        path: of the file; a link is followed.
        wait: seconds to wait for another process.

    Yields:
        The file that `path` leads to.

    Raises:
        BusyError: another process keeps it.
        InputError: it is a folder, or its folder cannot be written.
    """
    target = Path(os.path.realpath(local_name(path)))
    with cannot_be_written(path):
        if target.is_dir():
            raise InputError(f"{path}: is a folder; name a file in it")
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_of(target)
        free = _acquire(lock, wait)
    if not free:
        raise BusyError(
            f"{path}: another process is writing it; wait until it has ended, or name another place"
        )
    try:
        yield target
    finally:
        _release(lock)


@contextmanager
def cannot_be_written(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns the system's errors about a file to write into a line."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "free space there or name another place"
        ) from error


def lock_of(target: Path) -> Path:
    """The lock of a file, beside it; temporary files of it begin with this name's stem."""
    return target.with_name(
        f".tmp-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}.lock"
    )


def _acquire(path: Path, wait: float) -> bool:
    """Takes a lock, once more if this process has it; False if it does not get it in time."""
    end = time.monotonic() + wait
    while not _try(path):
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def _try(path: Path) -> bool:
    """Takes a lock if it is free; the first one in a folder clears that."""
    from filelock import FileLock, Timeout

    with _guard:
        lock, count = _held.get(path, (FileLock(path, thread_local=False), 0))
        try:
            if not count:
                lock.acquire(timeout=0)
        except Timeout:
            return False
        _held[path] = lock, count + 1
        if path.parent not in _cleared:
            _cleared.add(path.parent)
            with suppress(OSError):  # it may be forbidden to list it
                _clear(path.parent)
    return True


def _release(path: Path) -> None:
    with _guard:
        lock, count = _held.pop(path)
        if count > 1:
            _held[path] = lock, count - 1
            return
        with suppress(OSError):
            path.unlink()  # while it is locked: who comes next makes another
        lock.release()


def _clear(folder: Path) -> None:
    """Removes what processes that have ended left in a folder: all whose lock is free."""
    from filelock import FileLock, Timeout

    found = [(match[1], each) for each in folder.iterdir() if (match := _STALE.match(each.name))]
    for start in {start for start, _ in found}:
        lock = folder / f"{start}.lock"
        mine = lock in _held  # and nothing was written under it yet
        with suppress(Timeout, OSError), nullcontext() if mine else FileLock(lock, timeout=0):
            for owner, each in found:
                if owner == start and each != lock:
                    each.unlink(missing_ok=True)
            if not mine:
                lock.unlink(missing_ok=True)
