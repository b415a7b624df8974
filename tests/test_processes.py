"""Two processes do what one does: the same statistics, neurons and cells, said and written once."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fast, passes
from PIL import Image
from PIL.ImageOps import mirror
from safetensors.torch import load_file, save_file
from tiny import tiny_pipeline
from torch import distributed, multiprocessing

from cones.distributed import ALONE, Processes, joined, one_voice, say_failure
from cones.errors import InputError
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import load, to_bytes
from cones.search.config import FindConfig
from cones.search.find import find
from cones.search.objective import ImplantingLoss
from cones.subjects.subject import Subject

# Few steps: one weight that rounding tips moves others after it.
CONFIG = FindConfig(density=0.1, steps=10, batch=3, prior_batch=2, prior_images=2)


def photographs() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(3)]


def overlap(one: ConceptNeurons, two: ConceptNeurons) -> float:
    return len(one & two) / len(one | two)


def searched(processes: Processes) -> tuple[dict[str, torch.Tensor], ConceptNeurons]:
    """The statistics of a step with a distilled prior and without, and what a search finds."""
    torch.set_num_threads(1)
    images = photographs()
    backbone, subject = load_backbone(tiny_pipeline()), Subject(tuple(images), "robot")
    found = {}
    for distill in (True, False):
        config = replace(CONFIG, distill=distill, prior_weight=0.7)
        given = {"robot": images[:2]}
        objective = ImplantingLoss.of(
            backbone, [subject], config, class_images=given, processes=processes
        )
        weights = objective.theta.clone()
        weights[::20] = 0
        figures, gradient = objective.gradient(weights, 1)
        held_out = objective.held_out(weights)
        found[f"gradient {distill}"] = gradient
        found[f"figures {distill}"] = torch.tensor([*figures.values(), *held_out.values()])
    return found, find(backbone, subject, CONFIG, {"robot": images[:2]}, processes=processes)


def _process(rank: int, folder: Path) -> None:
    """What each of two processes does; the store tells which of them would say an error."""
    os.environ["RANK"] = str(rank)
    url = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=url, rank=rank, world_size=2)
    processes = Processes(rank, 2)
    found, neurons = searched(processes)
    save_file(found, folder / f"{rank}.safetensors")
    neurons.save(folder / f"{rank}.cones.safetensors")
    assert processes.gathered(rank) == [0, 1]
    say_failure(lambda _: (folder / f"{rank}.said").touch(), "an error of both")
    processes.leave()


def _alone(_: int, folder: Path) -> None:
    """What one process does that is as fresh as each of two."""
    found, neurons = searched(ALONE)
    save_file(found, folder / "alone.safetensors")
    neurons.save(folder / "alone.cones.safetensors")


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    multiprocessing.spawn(_process, (tmp_path,), nprocs=2)
    multiprocessing.spawn(_alone, (tmp_path,), nprocs=1)
    wanted = load_file(tmp_path / "alone.safetensors")
    neurons = load(tmp_path / "alone.cones.safetensors")
    found, other = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    for name, value in wanted.items():
        assert torch.equal(found[name], other[name])
        assert (found[name] - value).norm() <= 1e-6 * value.norm(), name
    one, two = (load(tmp_path / f"{rank}.cones.safetensors") for rank in (0, 1))
    assert to_bytes(one) == to_bytes(two)
    assert overlap(one, neurons) >= 0.99
    assert len(list(tmp_path.glob("*.said"))) == 1


# -- the launcher ----------------------------------------------------------------------------------


def launched(*command: object) -> subprocess.CompletedProcess[str]:
    """Starts a command in two processes on the CPU."""
    options = "--multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0"
    options += " --mixed_precision no --dynamo_backend no"
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *options.split(), *map(str, command)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture
def options(tmp_path: Path) -> Sequence[object]:
    folders = tmp_path / "photos", tmp_path / "class"
    for folder in folders:
        folder.mkdir()
    for number, image in enumerate(photographs()):
        image.save(folders[0] / f"{number}.png")
        mirror(image).save(folders[1] / f"{number}.png")
    return ("--images", folders[0], "--class_noun", "robot", "--class_data_dir", folders[1])


def test_a_launched_search_writes_and_speaks_once(
    options: Sequence[object], tmp_path: Path
) -> None:
    out = tmp_path / "out" / "robot.cones.safetensors"
    done = launched("-m", "cones", "find", *fast(), *options, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file"] == str(out)
    assert done.stderr.count("2/2") == 1
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    alone = tmp_path / "alone.cones.safetensors"
    passes("find", *fast(), *options, "--out", alone)
    assert overlap(load(out), load(alone)) >= 0.99


FAILING = """
from os import environ
from pathlib import Path

from cones.__main__ import main
from cones.errors import ConesError
from cones.search.objective import ImplantingLoss

gradient = ImplantingLoss.gradient

def failing(self, weights, step):
    if step == 1 and environ["RANK"] == "1":
        Path(__file__).with_name("failed").touch()
        raise ConesError("the second process fails")
    return gradient(self, weights, step)

ImplantingLoss.gradient = failing
main()
"""


def test_an_error_in_one_process_ends_all(options: Sequence[object], tmp_path: Path) -> None:
    script, out = tmp_path / "failing.py", tmp_path / "out"
    script.write_text(FAILING)
    done = launched(script, "find", *fast(), *options, "--out", out)
    assert time.time() - (tmp_path / "failed").stat().st_mtime < 30
    assert done.returncode == 1 and done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("cones: ")]
    assert lines == ["cones: the second process fails"]
    assert not list(out.iterdir())


# -- one process -----------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("sizes", [(8, 8), (3, 2), (1, 4)])
def test_every_sample_has_one_process(world: int, sizes: tuple[int, int]) -> None:
    first, second = (list(range(size)) for size in sizes)
    shares = [
        (first[p.share()], second[p.share(len(first))])
        for p in (Processes(rank, world) for rank in range(world))
    ]
    assert sorted(k for share, _ in shares for k in share) == first
    assert sorted(k for _, share in shares for k in share) == second
    counts = [len(a) + len(b) for a, b in shares]
    assert max(counts) - min(counts) <= 1


def test_without_a_launcher_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert joined("cuda:1") == (ALONE, "cuda:1")
    value = torch.ones(2)
    assert ALONE.summed(value)[0] is value and ALONE.gathered(3) == [3]
    ALONE.leave()


def test_a_device_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="expected none or cpu for several processes, found cuda"):
        joined("cuda:0")


def test_more_processes_than_samples_are_refused() -> None:
    backbone, subject = load_backbone(tiny_pipeline()), Subject(tuple(photographs()), "robot")
    with pytest.raises(InputError, match="a step of 5 samples cannot be shared by 6 processes"):
        ImplantingLoss.of(backbone, [subject], CONFIG, processes=Processes(0, 6))


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_main_process_speaks(
    rank: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", str(rank))
    with one_voice():
        print("said")
        say_failure(print, "failed")
    assert capsys.readouterr().out == ("said\nfailed\n" if rank == 0 else "")
