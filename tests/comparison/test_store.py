"""Results are appended whole, read by all, and found by all that they depend on."""

import json
import multiprocessing
from pathlib import Path

import pytest
from PIL import Image

from cones.comparison.store import ResultStore, result_key
from cones.errors import BusyError, InputError


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "new" / "table.jsonl")


def test_a_result_is_named_by_all_that_it_depends_on() -> None:
    key = result_key("a", {"x": 1, "y": [2]})
    assert key == result_key("a", {"y": [2], "x": 1}) != result_key("a", {"x": 1, "y": [3]})


def test_a_result_is_a_line_and_its_pictures_a_file(store: ResultStore) -> None:
    assert store.get("a") is None and store.results() == {}
    store.put("a", {"score": 0.1}, {"x": 1}, [Image.new("RGB", (4, 3), c) for c in ("red", "blue")])
    store.put("b", {"score": None}, {})
    assert store.get("a") == {"key": "a", "score": 0.1, "provenance": {"x": 1}}
    assert [json.loads(line)["key"] for line in store.path.read_text().splitlines()] == ["a", "b"]
    red, blue = store.pictures("a", 2)
    assert red.size == (4, 3) and blue.getpixel((0, 0)) == (0, 0, 255)
    assert not store.file("b", ".png").exists()


def test_what_another_process_appends_is_seen(store: ResultStore) -> None:
    other = ResultStore(store.path)
    store.put("a", {}, {})
    assert other.get("a")
    store.put("b", {}, {})
    assert other.get("b") and list(other.results()) == ["a", "b"]


@pytest.mark.parametrize("rest", [b'{"key": "c", "sco', b"\xff\x00\n", b"{}\n", b"[3]"])
def test_a_last_line_that_was_not_written_whole_goes(
    store: ResultStore, rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("a", {}, {})
    whole = store.path.read_bytes()
    store.path.write_bytes(whole + rest)
    assert list(store.results()) == ["a"]
    store.put("b", {}, {})
    assert store.path.read_bytes().startswith(whole)
    assert list(ResultStore(store.path).results()) == ["a", "b"]
    assert "its last line was not written whole" in caplog.text


def test_a_last_line_without_its_end_is_a_result(store: ResultStore) -> None:
    store.put("a", {}, {})
    store.path.write_bytes(store.path.read_bytes().rstrip(b"\n"))
    store.put("b", {}, {})
    assert list(ResultStore(store.path).results()) == ["a", "b"]


def test_another_damaged_line_is_refused(store: ResultStore) -> None:
    store.put("a", {}, {})
    store.path.write_bytes(b"<<<<<<< one\n" + store.path.read_bytes())
    for call in (store.results, lambda: store.put("b", {}, {})):
        with pytest.raises(
            InputError, match=r"line 1 is damaged .*; remove it, and it is measured"
        ):
            call()


def append(path: Path, name: str) -> None:
    store = ResultStore(path)
    for number in range(20):
        store.put(f"{name}{number}", {"text": "x" * 5000}, {})


def test_processes_append_side_by_side(store: ResultStore) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=append, args=(store.path, name)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(store.results()) == 40 and store.path.read_bytes().count(b"\n") == 40
    assert [path.name for path in store.path.parent.iterdir()] == ["table.jsonl"]


def test_a_result_is_measured_once(store: ResultStore) -> None:
    with store.claimed("a", 0):
        context = multiprocessing.get_context("spawn")
        worker = context.Process(target=claim, args=(store.path,))
        worker.start()
        worker.join(60)
        assert worker.exitcode == 3


def claim(path: Path) -> None:
    try:
        with ResultStore(path).claimed("a", 0):
            pass
    except BusyError:
        raise SystemExit(3) from None
