"""One process writes a file at a time; what dead ones have left goes away, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cones.errors import BusyError
from cones.files.locks import _cleared, claimed
from cones.files.writing import atomic_path, atomic_write

HOLD = """
import sys, time
from pathlib import Path
from cones.files.writing import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(flush=True)
    time.sleep(60)
"""


@contextmanager
def another(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is writing a file."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_file_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with another(path):
        with pytest.raises(BusyError, match=r"a\.txt: another process is writing it; wait"):
            claimed(path, wait=0.1).__enter__()
        atomic_write(tmp_path / "b.txt", b"mine")
        assert len([each for each in tmp_path.iterdir() if each.name.startswith(".tmp-")]) == 2
    atomic_write(path, b"mine")  # its lock went with it
    assert path.read_bytes() == b"mine"


def test_what_killed_processes_have_left_goes_away(tmp_path: Path) -> None:
    with another(tmp_path / "a.txt"):
        pass
    (tmp_path / ".tmp-0123456789ab.png").write_bytes(b"of an earlier version")
    (tmp_path / ".tmp-mine").write_bytes(b"of another program")
    with another(tmp_path / "alive.txt") as process:
        alive = {each for each in tmp_path.iterdir() if each.name.startswith(".tmp-")}
        assert len(alive) == 3  # it has cleared the folder itself
        assert process.poll() is None
        _cleared.discard(tmp_path)
        atomic_write(tmp_path / "c.txt", b"")
        assert {each for each in tmp_path.iterdir() if each.name.startswith(".tmp-")} == alive
    _cleared.discard(tmp_path)
    atomic_write(tmp_path / "c.txt", b"")
    assert sorted(os.listdir(tmp_path)) == [".tmp-mine", "c.txt"]


def test_claims_are_nested(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with claimed(path), claimed(path):
        atomic_write(path, b"one")
        with pytest.raises(ZeroDivisionError), atomic_path(path):
            raise ZeroDivisionError
    atomic_write(path, b"two")
    assert os.listdir(path.parent) == ["a.txt"] and path.read_bytes() == b"two"


def test_nothing_takes_the_place_of_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    for number in range(2):  # with links, and on a file system without
        path = tmp_path / f"{number}.txt"
        atomic_write(path, b"one", new=True)
        with pytest.raises(FileExistsError):
            atomic_write(path, b"two", new=True)
        assert path.read_bytes() == b"one"
        monkeypatch.setattr("os.link", no_links)
    assert sorted(os.listdir(tmp_path)) == ["0.txt", "1.txt"]
