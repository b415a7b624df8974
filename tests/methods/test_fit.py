"""`cones fit`, and `cones generate` with what it makes."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import fails, misused, passes
from PIL import Image
from tiny import tiny_folder

from cones.methods.artifact import TunedWeights, load_artifact
from cones.methods.registry import METHODS
from cones.neurons.neuronfile import file_hash

FEW = ("--steps", 2, "--batch", 2)
QUICK = (*FEW, "--prior_images", 2)


def photographs(folder: Path, seeds: Iterable[int]) -> Path:
    for seed in seeds:
        pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photos"), range(3))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("others"), range(3, 6))


def of(photos: Path) -> tuple[object, ...]:
    return "--images", photos, "--class_noun", "robot", "--model", tiny_folder()


@pytest.fixture(scope="module")
def dreambooth(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fitted") / "robot.safetensors"
    passes("fit", "--method", "dreambooth", *QUICK, *of(photos), "--out", path)
    return path


@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_a_file_that_can_be_drawn_with(
    photos: Path, tmp_path: Path, method: str
) -> None:
    quick = FEW if method == "textual_inversion" else QUICK
    result = passes("fit", "--method", method, *quick, *of(photos), "--out", tmp_path, "--json")
    about = json.loads(result.stdout)
    path = tmp_path / f"sks-robot.{method}.safetensors"
    artifact = load_artifact(path)
    assert about["file"] == str(path) and about["method"] == artifact.method == method
    assert about["bytes"] == path.stat().st_size and about["digest"] == file_hash(path)
    assert {"before", "after"} <= about["report"].keys()
    assert about["subjects"][0]["token"] == "sks"
    draw = ("generate", "--neurons", path, "--model", tiny_folder(), "--steps", 2, "--json")
    (picture,) = json.loads(passes(*draw, "--out", tmp_path / "out").stdout)["pictures"]
    assert picture["prompt"] == "a photo of a sks robot"
    wanted = file_hash(path) if method == "cones" else f"{method}:{file_hash(path)}"
    assert picture["neurons"] == wanted


def test_the_table_says_what_to_do_next(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    result = passes("fit", "--method", "textual_inversion", *FEW, *of(photos), "--out", path)
    words = " ".join(result.stdout.split())
    for part in (
        "held-out noise before after loss on the subjects",
        f"{path}: {path.stat().st_size:,} bytes",
        f'next: cones generate --neurons "{path}"',
    ):
        assert part in words
    assert "the prior" not in words
    told = " ".join(passes("inspect", path).stdout.split())
    assert "method textual_inversion subjects sks robot bytes " in told
    (about,) = json.loads(passes("inspect", path, "--json").stdout)
    assert about["hash"] == file_hash(path) and about["info"]["report"]
    assert "train" in result.stderr and "2/2" in result.stderr


def test_several_subjects_and_settings(photos: Path, others: Path, tmp_path: Path) -> None:
    second = ("--images", others, "--class_noun", "mug", "--token", "zas")
    settings = ("--rate", "0.01", "--seed", 3, "--rank", 2)
    passes(
        "fit", "--method", "lora", *QUICK, *of(photos), "--token", "sks", *second, *settings,
        "--out", tmp_path,
    )  # fmt: skip
    artifact = load_artifact(tmp_path / "sks-robot-zas-mug.lora.safetensors")
    assert isinstance(artifact, TunedWeights)
    assert [(s.token, s.class_noun) for s in artifact.subjects] == [
        ("sks", "robot"),
        ("zas", "mug"),
    ]
    config = json.loads(artifact.info["config"])
    assert (config["rate"], config["seed"], config["rank"], config["steps"]) == (0.01, 3, 2, 2)
    assert all(len(down) == 2 for down, _ in artifact.factors.values())


def test_the_text_encoder_may_be_trained(photos: Path, tmp_path: Path) -> None:
    path, more = tmp_path / "a.safetensors", ("--train_text_encoder",)
    passes("fit", "--method", "dreambooth", *QUICK, *of(photos), *more, "--out", path)
    artifact = load_artifact(path)
    assert isinstance(artifact, TunedWeights)
    assert any(name.startswith("text_encoder.") for name in artifact.weights)


def test_an_artifact_is_drawn_with_neurons_on_top(
    photos: Path, dreambooth: Path, tmp_path: Path
) -> None:
    neurons = tmp_path / "mug.cones.safetensors"
    mug = ("--images", photos, "--class_noun", "mug", "--token", "zas", "--model", tiny_folder())
    passes("fit", "--method", "cones", *QUICK, *mug, "--out", neurons)
    draw = ("generate", "--model", tiny_folder(), "--steps", 2, "--json", "--out", tmp_path)
    both = passes(*draw, "--neurons", neurons, "--neurons", dreambooth)
    (picture,) = json.loads(both.stdout)["pictures"]
    hashes = f"dreambooth:{file_hash(dreambooth)} {file_hash(neurons)}"
    assert picture["neurons"] == hashes and picture["strength"]
    plain = passes(*draw, "--neurons", dreambooth, "--no_neurons")
    (picture,) = json.loads(plain.stdout)["pictures"]
    assert picture["neurons"] == ""


def test_two_artifacts_are_refused(dreambooth: Path, tmp_path: Path) -> None:
    other = shutil.copy(dreambooth, tmp_path / "other.safetensors")
    assert fails("generate", dreambooth, other, "--out", tmp_path / "out") == (
        "neurons: expected at most one artifact besides neuron files, found dreambooth and "
        "dreambooth; fit their subjects together with `cones fit`"
    )


def test_what_cannot_be_fitted_is_one_line(photos: Path, tmp_path: Path) -> None:
    quick: tuple[Any, ...] = ("fit", "--method", "dreambooth", *QUICK, *of(photos))
    second = ("--images", photos, "--class_noun", "mug")
    assert "; give each its own" in fails(
        *quick, *second, "--token", "sks", "--token", "sks", "--out", tmp_path
    )
    assert fails(*quick, "--rate", 0) == "--rate: expected more than 0, found 0.0"
    assert "none" in fails(*quick[:7], *of(tmp_path / "none"))
    assert not list(tmp_path.iterdir())


def test_wrong_usage_is_one_line(photos: Path) -> None:
    quick: tuple[Any, ...] = ("fit", *of(photos))
    assert "2 --images, 2 --class_noun, 1 --token: give one of each" in misused(
        *quick, "--method", "lora", "--images", photos, "--class_noun", "mug"
    )
    assert "--rank is no option of --method cones; leave it out" in misused(
        *quick, "--method", "cones", "--rank", 2
    )
    assert "--prior_images is no option of --method textual_inversion" in misused(
        *quick, "--method", "textual_inversion", "--prior_images", 2
    )
    assert "'dream' is not one of 'cones', " in misused(*quick, "--method", "dream")
