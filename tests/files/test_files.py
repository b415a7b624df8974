"""Files are written whole or not at all, whatever happens."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save_file

from cones.errors import InputError
from cones.files.paths import local_name, local_path
from cones.files.writing import atomic_path, atomic_write, safetensors_bytes

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are POSIX's")


def test_it_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "er" / "a.bin"
    atomic_write(path, b"one")
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_temporary_path_is_beside_and_has_the_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        assert not (tmp_path / "a.png").exists()


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_mode_is_the_umasks(tmp_path: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        atomic_write(tmp_path / "plain", b"")
        with atomic_path(tmp_path / "library") as temporary:  # a writer with a mode of its own
            save_file({"a": np.zeros(1, np.float32)}, temporary)
    finally:
        os.umask(old)
    for name in ("plain", "library"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask


@posix
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/target")
    atomic_write(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "target").read_bytes() == b"data"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; name a file in it$"):
        atomic_write(tmp_path, b"")
    assert os.listdir(tmp_path) == []


def test_a_file_as_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.bin: cannot be written .*name another place"):
        atomic_write(tmp_path / "file" / "a.bin", b"")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        atomic_write(tmp_path / "a.bin", b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's device that is always full")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=r"No space left.*free space"), atomic_path(path):
        Path("/dev/full").write_bytes(b"more")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_safetensors_bytes_are_the_same_and_readable(tmp_path: Path) -> None:
    tensors = {
        "b": np.arange(3, dtype=np.uint8),
        "c": np.ones((2, 1), dtype=np.float16),
        "a": np.zeros(0, dtype=np.uint8),
        "d": np.full(1, 2, dtype=np.float32),
    }
    metadata = {"z": "1", "é": '"', "a": ""}
    data = safetensors_bytes(tensors, metadata)
    assert data == safetensors_bytes(
        dict(reversed(tensors.items())), dict(reversed(metadata.items()))
    )
    assert (len(data) - (4 + 4 + 3)) % 8 == 0
    read = load(data)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert np.array_equal(read[name], tensor)
    (tmp_path / "x").write_bytes(data)
    with safe_open(tmp_path / "x", "numpy") as file:
        assert file.metadata() == metadata


@pytest.mark.parametrize("wrong", [None, 5, b"a", ["a"]])
def test_what_is_no_path_is_refused(wrong: Any) -> None:
    for read in (local_path, local_name):
        with pytest.raises(InputError) as caught:
            read(wrong)
        assert str(caught.value) == f"expected a path, found a {type(wrong).__name__}"
