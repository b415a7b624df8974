"""Nothing is overwritten that is not its own older self, and no result is lost."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import QUICK, fails, passes
from PIL import Image
from tiny import tiny_folder

from cones.errors import InputError
from cones.files.locks import claimed
from cones.files.writing import atomic_write, write_result
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import load


def neuron_file(path: Path, *indices: int, token: str = "sks", noun: str = "robot") -> Path:
    layer = "down_blocks.0.attn2.to_k"
    ConceptNeurons(
        {layer: (3, 4)},
        {layer: np.array(indices, np.int64)},
        subjects=(SubjectInfo(token, noun),),
        base=BaseInfo("tiny", "f" * 32),
    ).save(path)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    one = neuron_file(tmp_path / "a.cones.safetensors", 1, 2)
    return one, neuron_file(tmp_path / "b.cones.safetensors", 2, 3, token="ohwx", noun="mug")


def test_a_union_replaces_only_its_older_self(pair: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = pair
    before = b.read_bytes()
    line = fails("combine", a, b, "-o", b)
    assert line.startswith(f"{b}: is one of the files that are read; name another -o, or")
    assert b.read_bytes() == before
    out = tmp_path / "out" / "ohwx-mug-sks-robot.cones.safetensors"
    for _ in range(2):  # the order of the files is no other union
        passes("combine", a, b, "--out", out.parent)
        a, b = b, a
    again = neuron_file(tmp_path / "c.cones.safetensors", 5)
    stderr = passes("combine", again, pair[1], "--out", out).stderr
    assert f"warning: {out}: all begins anew, and replaces an older result: files " in stderr
    third = neuron_file(tmp_path / "d.cones.safetensors", 5, token="zas", noun="car")
    line = fails("combine", third, pair[1], "--out", out)
    assert line.startswith(f"{out}: is another result: token ohwx, sks -> ohwx, zas, class noun")
    passes("combine", third, pair[1], "--out", out, "--overwrite")
    assert {each.token for each in load(out).subjects} == {"zas", "ohwx"}


def test_a_figure_replaces_no_photograph(pair: tuple[Path, Path], tmp_path: Path) -> None:
    photograph, figure = tmp_path / "00.png", tmp_path / "overlap.png"
    Image.new("RGB", (4, 4), "red").save(photograph)
    before = photograph.read_bytes()
    line = fails("overlap", *pair, "--out", photograph)
    assert line.startswith(f"{photograph}: is there, and no picture of this command; name another")
    assert photograph.read_bytes() == before
    for _ in range(2):
        passes("overlap", *pair, "--out", figure)
    passes("overlap", *pair, "--out", photograph, "--overwrite")


def test_a_file_that_another_process_writes_is_left_to_it(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "both.cones.safetensors"
    command = [sys.executable, "-m", "cones", "combine", *map(str, pair), "-o", str(out)]
    with claimed(out):
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cones: {out}: another process is writing it; wait until")


def test_a_result_without_room_is_kept_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"the result is in .*, move it from there$") as refused:
        write_result(tmp_path / "file" / "a.bin", b"long work")
    elsewhere = Path(str(refused.value).split("the result is in ")[1].split(", move")[0])
    assert elsewhere.read_bytes() == b"long work" and elsewhere.name == "a.bin"
    shutil.rmtree(elsewhere.parent)


DRAW = """
import sys
from PIL import Image
from cones.sampling.pictures import Picture, save_pictures
for seed in range(20):
    save_pictures([Picture(Image.new("RGB", (2, 2)), sys.argv[2], 0, {})], sys.argv[1])
"""


def test_two_commands_that_draw_into_one_folder_lose_nothing(tmp_path: Path) -> None:
    folder = str(tmp_path / "out")
    commands = [[sys.executable, "-c", DRAW, folder, "a mug"] for _ in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(60) for process in processes] == [0, 0]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{number:04d}-seed0-a-mug.png" for number in range(40)]


def photographs(folder: Path, seed: int) -> Path:
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng((seed, number)).integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_search_replaces_only_its_older_self(tmp_path: Path, monkeypatch: Any) -> None:
    """Without searching: what is checked is checked before anything is drawn."""
    made: Counter[int] = Counter()

    def find(backbone: Any, subjects: Any, config: Any, *_: Any, **__: Any) -> ConceptNeurons:
        made[config.steps] += 1
        return ConceptNeurons(
            {"a": (2, 2)}, {}, info={"report": json.dumps({"before": FIGURES, "after": FIGURES})}
        )

    FIGURES = {"subject": 1.0, "prior": 1.0}
    monkeypatch.setattr(sys.modules["cones.search.find"], "find", find)
    monkeypatch.chdir(tmp_path)
    one, two = photographs(tmp_path / "one", 1), photographs(tmp_path / "two", 2)
    more = ("--class_noun", "robot", "--model", tiny_folder())
    for _ in range(2):
        passes("find", *QUICK, "--images", one, *more)
    path = tmp_path / "sks-robot.cones.safetensors"
    before = path.read_bytes()
    line = fails("find", *QUICK, "--images", two, *more)
    assert line.startswith("sks-robot.cones.safetensors: is another result: photographs ")
    assert path.read_bytes() == before and made == {2: 2}
    stderr = passes("find", "--steps", 3, "--batch", 2, "--images", one, *more).stderr
    assert "all begins anew, and replaces an older result: steps 2 -> 3" in stderr
    passes("find", *QUICK, "--images", two, *more, "--overwrite")
    passes("find", *QUICK, "--images", one, "--token", "ohwx", *more)
    names = {each.name for each in tmp_path.iterdir() if each.is_file()}
    assert names == {"sks-robot.cones.safetensors", "ohwx-robot.cones.safetensors"}


def test_an_interrupted_search_says_how_it_goes_on(tmp_path: Path, monkeypatch: Any) -> None:
    def find(*arguments: Any, **_: Any) -> None:
        if checkpoint := arguments[6]:
            atomic_write(checkpoint.path, b"kept")
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["cones.search.find"], "find", find)
    images = photographs(tmp_path / "my photos", 1)
    out = tmp_path / "r.cones.safetensors"
    command = ["find", "--images", str(images), "--class_noun", "robot", "--out", str(out)]
    command += ["--model", str(tiny_folder())]

    def told() -> str:
        monkeypatch.setattr("sys.argv", ["cones", *command])
        return fails(*command, status=130)

    assert told().startswith("interrupted; nothing is kept of this search; ")
    command += ["--checkpointing_steps", "1"]
    line = told()
    assert line.startswith("interrupted; go on with: cones find --images '")
    assert line.endswith("--checkpointing_steps 1 --resume_from_checkpoint latest")
    assert f"'{images}'" in line


def test_a_terminated_command_ends_as_an_interrupted_one(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom cones import __main__\nfrom cones.cli import program\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "program.main = lambda: os.kill(os.getpid(), getattr(signal, sys.argv[1]))\n__main__.main()"
    )
    for name, line, status in (("SIGTERM", "terminated", 143), ("SIGINT", "interrupted", 130)):
        done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (status, "", f"cones: {line}\n")
