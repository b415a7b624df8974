"""`cones find --subjects_from`: a file for each subject of a tree, each found once."""

import json
import sys
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from command_line import cones, fails, fast, misused, passes
from PIL import Image
from typer.testing import Result

from cones.distributed import Processes
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import load
from cones.search.checkpoint import KeptSearch
from cones.search.prior import draw_class_images
from cones.search.sweep import deal, tasks


@pytest.fixture(autouse=True)
def _sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of the prior are drawn in one step."""
    monkeypatch.setattr(sys.modules[draw_class_images.__module__], "STEPS", 1)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for seed, name in enumerate(("robot-1", "toys/mug-1", "toys/robot-2")):
        folder = tmp_path / "tree" / name
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(seed).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
        for number, each in enumerate(pixels):
            Image.fromarray(each).save(folder / f"{number}.png")
    return tmp_path / "tree"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for what `out` holds."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def out(tree: Path, tmp_path: Path, kept: Path) -> Path:
    """What is found in `tree`: searched for once, since equal photographs are the same search."""
    if not list(kept.iterdir()):
        found(tree, kept)
    return Path(copytree(kept, tmp_path / "out"))


def found(tree: Path, out: Path, *options: object) -> dict[str, Any]:
    result = passes("find", *fast(), "--subjects-from", tree, "--out", out, "--json", *options)
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def states(told: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in told["subjects"]}


def test_each_subject_is_found_as_it_would_be_alone(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def counting(backbone: Any, subject: Any, *rest: Any) -> Any:
        drawn.append(subject.class_noun)
        return draw_class_images(backbone, subject, *rest)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules[draw_class_images.__module__], "draw_class_images", counting)
        told = found(tree, out, "--token", "sks", "--token", "zas")
    assert (told["found"], told["there"], told["failed"]) == (3, 0, 0)
    assert drawn == ["robot", "mug"]
    files = {path.name: load(path) for path in out.iterdir()}
    assert {name: files[name].subjects[0].phrase for name in files} == {
        "robot-1.cones.safetensors": "sks robot",
        "toys-mug-1.cones.safetensors": "zas mug",
        "toys-robot-2.cones.safetensors": "sks robot",
    }
    alone = tmp_path / "alone.cones.safetensors"
    options = ("--images", tree / "toys" / "robot-2", "--class_noun", "robot", "--out", alone)
    passes("find", *fast(), *options)
    again, there = load(alone), files["toys-robot-2.cones.safetensors"]
    assert there == again and there.info == again.info


def test_what_is_there_is_skipped(tree: Path, out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    count = len(load(out / "toys-mug-1.cones.safetensors"))
    (out / "toys-mug-1.cones.safetensors").unlink()
    result = passes("find", *fast(), "--subjects_from", tree, "--out", out)
    lines = result.stdout.splitlines()
    assert lines[0] == f"robot-1: was there; {out / 'robot-1.cones.safetensors'}"
    assert lines[1].startswith(f"toys-mug-1: {count:,} neurons, strength ")
    assert lines[3] == "1 found, 2 were there, 0 failed"
    after = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert [path.name for path in before if before[path] != after[path]] == [
        "toys-mug-1.cones.safetensors"
    ]


def refused(result: Result) -> str:
    """The one line about the one subject that failed; the others did not."""
    assert result.exit_code == 1, result.output
    assert result.stdout.splitlines()[-1].endswith(" 1 failed")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("cones: ")]
    return line.removeprefix("cones: ")


def test_the_file_of_another_search_is_not_overwritten(tree: Path, out: Path) -> None:
    path = out / "robot-1.cones.safetensors"
    data = path.read_bytes()
    Image.new("RGB", (16, 16), "red").save(tree / "robot-1" / "0.png")
    line = refused(cones("find", *fast(), "--subjects_from", tree, "--out", out))
    assert line.startswith(f"robot-1: {path}: is of another search: photographs ")
    assert line.endswith("; add --overwrite, or name another --out")
    assert path.read_bytes() == data
    result = cones("find", *fast(), "--steps", 3, "--subjects_from", tree, "--out", out)
    assert result.stderr.count("search: steps 2 -> 3; add") == 2
    assert "0 found, 0 were there, 3 failed" in result.stdout
    result = cones("find", *fast(), "--token", "zas", "--subjects_from", tree, "--out", out)
    assert result.stderr.count("; add --overwrite, or name another --out") == 3
    path.write_text("{}")
    line = refused(cones("find", *fast(), "--subjects_from", tree, "--out", out))
    assert "is JSON; name a neuron file" in line


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tree: Path, out: Path) -> None:
    (out / "toys-mug-1.cones.safetensors").unlink()
    Image.new("RGB", (16, 16), "red").save(tree / "robot-1" / "0.png")
    before = {path: path.read_bytes() for path in out.iterdir()}
    told = found(tree, out, "--dry_run")
    assert states(told) == {"robot-1": "failed", "toys-mug-1": "to find", "toys-robot-2": "there"}
    assert "is of another search: photographs" in told["subjects"][0]["error"]
    mug = told["subjects"][1]
    assert (mug["class_noun"], mug["photographs"]) == ("mug", 2)
    assert mug["file"] == str(out / "toys-mug-1.cones.safetensors")
    options = ("--subjects_from", tree, "--out", out / "new", "--dry_run", "--token", "zas")
    rows = passes("find", *fast(), *options).stdout.splitlines()
    assert [row.split()[:4] for row in rows[1:]] == [
        ["robot-1", "zas", "robot", "to"],
        ["toys-mug-1", "zas", "mug", "to"],
        ["toys-robot-2", "zas", "robot", "to"],
    ]
    assert before == {path: path.read_bytes() for path in out.iterdir()}


def test_a_subject_that_fails_does_not_stop_the_others(tree: Path, out: Path) -> None:
    for name in ("robot-1", "toys-mug-1"):
        (out / f"{name}.cones.safetensors").unlink()
    damaged = tree / "robot-1" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    options = ("--subjects_from", tree, "--out", out)
    line = refused(cones("find", *fast(), *options))
    assert line.startswith(f"robot-1: {damaged} is damaged (")
    told = json.loads(cones("find", *fast(), *options, "--json").stdout)
    assert states(told) == {"robot-1": "failed", "toys-mug-1": "there", "toys-robot-2": "there"}
    assert told["subjects"][0]["error"] in line and told["failed"] == 1


def test_a_search_that_was_stopped_goes_on(
    tree: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    for name in ("toys-mug-1", "toys-robot-2"):
        (out / f"{name}.cones.safetensors").unlink()
    save = KeptSearch.save

    def stopping(self: KeptSearch, *rest: Any) -> None:
        save(self, *rest)
        raise KeyboardInterrupt

    options = ("--checkpointing_steps", 1, "--resume_from_checkpoint", "latest")
    with monkeypatch.context() as patched:
        patched.setattr(KeptSearch, "save", stopping)
        stopped = cones("find", *fast(), "--subjects_from", tree, "--out", out, *options)
    assert stopped.exit_code == 130
    assert sorted(path.name for path in out.iterdir()) == [
        "robot-1.cones.safetensors",
        "toys-mug-1.checkpoint.safetensors",
    ]
    told = found(tree, out, *options)
    assert (told["found"], told["there"]) == (2, 1)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_processes_take_turns_at_the_subjects(
    tree: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "toys-mug-1"
    failed = {"name": name, "file": "there", "state": "failed", "error": "is damaged"}

    class Main(Processes):
        def gathered(self, value: Any) -> Any:
            return [value, {name: failed}]

        def leave(self) -> None:
            """There is no other process."""

    (out / f"{name}.cones.safetensors").unlink()
    monkeypatch.setattr("cones.distributed.joined", lambda device: (Main(0, 2), device))
    result = cones("find", *fast(), "--subjects_from", tree, "--out", out)
    assert refused(result) == f"{name}: is damaged"
    assert result.stdout.splitlines()[-1] == "0 found, 2 were there, 1 failed"
    assert not (out / f"{name}.cones.safetensors").exists()


def test_two_subjects_of_one_name_are_refused(tree: Path, tmp_path: Path) -> None:
    (tree / "toys-mug-1").mkdir()
    Image.new("RGB", (16, 16)).save(tree / "toys-mug-1" / "0.png")
    line = fails("find", *fast(), "--subjects_from", tree, "--out", tmp_path)
    assert "are both called toys-mug-1, and so would be their neuron files; rename one" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--images", "a", "--class_noun", "b"), "leave out --images, --class_noun"),
        (("--start", "a"), "leave out --start"),
        (("--class_data_dir", "a"), "leave out --class_data_dir"),
        (("--resume_from_checkpoint", "a.safetensors"), "only 'latest'"),
        (("--out", "a.safetensors"), "name a folder"),
    ],
)
def test_options_of_one_subject_are_refused(options: tuple[str, ...], message: str) -> None:
    assert message in misused("find", "--subjects_from", "photos", *options)


def test_kohyas_folders_bring_their_tokens(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "robot-1").rename(tree / "10_hta robot")
    found = tasks(tree, ["sks", "ohwx"])
    assert [(task.name, task.token) for task in found] == [
        ("10_hta robot", "hta"),
        ("toys-mug-1", "ohwx"),
        ("toys-robot-2", "sks"),
    ]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(
        f"{tree / '10_hta robot'}: is named as kohya's folders are: its token is"
    )


def test_copies_of_a_folder_are_told(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    copytree(tree / "robot-1", tree / "robot-9")
    assert len(tasks(tree, ["sks"])) == 4
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{tree / 'robot-9'}: holds the same photographs as {tree / 'robot-1'};")


def test_each_subject_of_a_tree_has_a_rare_token_of_its_own(tree: Path, tmp_path: Path) -> None:
    rare = ["sks", "ohwx", "hta", "ucn"]
    todo = tasks(tree)
    paths = [tmp_path / f"{task.name}.cones.safetensors" for task in todo]
    assert [task.token for task in deal(todo, paths, rare)] == ["sks", "ohwx", "hta"]
    shapes = {"k": (2, 2)}
    ConceptNeurons(shapes, {}, subjects=(SubjectInfo("sks", "mug"),)).save(paths[1])
    paths[2].write_text("damaged")
    dealt = [task.token for task in deal(todo, paths, rare)]
    assert dealt == ["ohwx", "sks", "hta"]  # what was found keeps its word
    assert [task.token for task in deal(todo, paths, [])] == ["sks"] * 3
    given = tasks(tree, ["zas"])
    assert deal(given, paths, rare) == given


def test_without_tokens_the_models_own_are_dealt_out(tree: Path, tmp_path: Path) -> None:
    told = found(tree, tmp_path)
    tokens = [load(Path(each["file"])).subjects[0].token for each in told["subjects"]]
    assert tokens == ["sks", "ohwx", "hta"]
