"""`cones tune` and `cones precision`: what they write and print, and their one line of refusal."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_folder, tiny_pipeline
from torch import Tensor
from typer.testing import CliRunner, Result

from cones.cli.program import app
from cones.comparison.precision import compare_precisions
from cones.errors import InputError
from cones.evaluation import Protocol
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import load, nbytes
from cones.neurons.projections import projections, shapes
from cones.search.config import PRECISIONS, TuneConfig
from cones.subjects.photos import load_photos
from cones.subjects.subject import Subject

NAMED = (SubjectInfo("sks", "robot"), SubjectInfo("zas", "mug"))


class Colours:
    """Features without a network: the mean colour; a text stands for a colour by its length."""

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        means = [np.asarray(image).reshape(-1, 3).mean(0) + 1 for image in images]
        return torch.nn.functional.normalize(torch.tensor(np.array(means)).float(), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        vectors = [[len(text), len(set(text)), 1] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(vectors).float(), dim=-1)


QUICK = Protocol("quick", 1, Colours, steps=1, guidance=1.0)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two neuron files, the folders of their subjects' photographs, and quick settings."""
    rng = np.random.default_rng(0)
    places = shapes(projections(tiny_pipeline()))
    for info in NAMED:
        index = {k: np.flatnonzero(rng.random(prod(shape)) < 0.03) for k, shape in places.items()}
        ConceptNeurons(places, index, subjects=(info,)).save(tmp_path / info.token)
        (tmp_path / info.class_noun).mkdir()
        for number in range(2):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / info.class_noun / f"{number}.png")
    names = [str(tmp_path / info.token) for info in NAMED]
    folders = [each for info in NAMED for each in ("--images", str(tmp_path / info.class_noun))]
    return [*names, *folders, "--model", str(tiny_folder()), "--steps", "1", "--batch", "2"]


def cones(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_tune_unites_and_tunes(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "ab.cones.safetensors"
    result = cones("tune", *files, "--precision", "quaternary", "--out", out)
    assert result.exit_code == 0, result.output
    tuned = load(out)
    assert tuned.subjects == NAMED and tuned.values is not None
    assert len(tuned) == len(load(files[0]) | load(files[1]))
    assert json.loads(tuned.info["config"])["precision"] == "quaternary"
    words = " ".join(result.stdout.split())
    binary = nbytes(replace(tuned, values=None))
    assert f"{out}: {out.stat().st_size:,} bytes, {binary:,} without values" in words
    assert "sks robot: loss on the subject" in words and "zas mug: loss on the rest" in words


def test_tune_prints_json(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "a.cones.safetensors"
    result = cones("tune", files[0], *files[2:4], *files[6:], "--json", "--out", out)
    about = json.loads(result.stdout)
    assert about["file"] == str(out) and about["tuned"]
    assert about["report"]["after"].keys() == {"sks"}
    assert about["bytes"] == out.stat().st_size > about["bytes_binary"]


def test_a_folder_gets_a_file_by_name(files: list[str], tmp_path: Path) -> None:
    result = cones("tune", *files, "--json", "--output_dir", tmp_path)
    path = tmp_path / "sks-robot-zas-mug-tuned.cones.safetensors"
    assert json.loads(result.stdout)["file"] == str(path) and path.exists()


@pytest.mark.parametrize("command", ["tune", "precision"])
@pytest.mark.parametrize(
    ("extra", "status", "message"),
    [
        (["--steps", "0"], 2, "--steps: expected at least 1, found 0"),
        (
            ["--images", "more"],
            2,
            "expected an --images for each of sks robot, zas mug, in this order, found 3",
        ),
    ],
)
def test_wrong_use_is_one_line(
    files: list[str], tmp_path: Path, command: str, extra: list[str], status: int, message: str
) -> None:
    result = cones(command, *files, *extra, "--out", tmp_path / "none" / "x")
    assert result.exit_code == status
    assert result.stderr.splitlines()[-1].endswith(message)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [("tune",), ("precision", "--prompt", "a {}")])
def test_the_same_neurons_in_two_files_are_one_line(
    files: list[str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    again = tmp_path / "again"
    again.write_bytes(Path(files[0]).read_bytes())
    result = cones(*command, files[0], again, *files[2:])
    twice = "the neurons of 'sks robot' are given twice, where once is enough; name each file once"
    assert (result.exit_code, result.stderr) == (1, f"cones: {twice}\n")


def test_a_missing_folder_is_one_line(files: list[str], tmp_path: Path) -> None:
    files[5] = str(tmp_path / "nowhere")
    result = cones("tune", *files, "--out", tmp_path / "x.safetensors")
    assert result.exit_code == 1 and "nowhere" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "x.safetensors").exists()


def test_precision_draws_and_measures_each(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["cones.evaluation"], "named_protocol", lambda *_: QUICK)
    out = tmp_path / "precision.png"
    drawing = ("--prompt", "a {} and a {other}", "--num_images", "2", "--out", tmp_path)
    result = cones("precision", *files, *drawing, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["protocol"] == QUICK.as_dict()
    rows = {row["precision"]: row for row in told["rows"]}
    assert [*rows] == ["base model", *PRECISIONS]
    sizes = {name: row["bytes"] for name, row in rows.items()}
    assert sizes["base model"] == 0 < sizes["binary"] < sizes["quaternary"] < sizes["float32"]
    assert all(-1 <= row["image_alignment"] <= 1 for row in rows.values())
    with Image.open(out) as sheet:
        assert sheet.width > 2 * 128 and sheet.height > 5 * 128


def test_a_row_is_scored_with_all_subjects(files: list[str], tmp_path: Path) -> None:
    backbone = load_backbone(tiny_pipeline())
    neurons = load(files[0]) | load(files[1])
    photos = {info: load_photos(tmp_path / info.class_noun).images for info in NAMED}
    subjects = [Subject(photos[info], info.class_noun, info.token) for info in NAMED]
    config = TuneConfig(steps=1, batch=1, prior_batch=1, prior_images=1)
    base, *tuned = compare_precisions(
        backbone, neurons, subjects, ["the {}"], range(2), config, QUICK
    )
    assert base.neurons is None and [row.name for row in tuned] == [*PRECISIONS]
    features = QUICK.features()
    pictures, words = features.images(base.pictures), features.texts(["the robot and a mug"])
    means = [(pictures @ features.images(each).T).mean().item() for each in photos.values()]
    assert base.scores.image_alignment == pytest.approx(sum(means) / 2, abs=1e-5)
    assert base.scores.text_alignment == pytest.approx((pictures @ words.T).mean().item(), abs=1e-5)
    with pytest.raises(InputError, match="seeds: expected at least one, found none"):
        compare_precisions(backbone, neurons, subjects, ["the {}"], [], config, QUICK)
