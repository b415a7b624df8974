"""`cones attention`: the figure, and what it measures."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from some_neurons import MUG, ROBOT, some_neurons
from tiny import tiny_folder
from typer.testing import CliRunner, Result

from cones.cli.program import app
from cones.models.loading import load_backbone

PHOTOS = Path(__file__).parents[2] / "examples" / "subjects" / "dev" / "robot-2"


def run(*arguments: object) -> Result:
    options = ("--model", tiny_folder(), "--steps", 2)
    return CliRunner().invoke(app, [str(each) for each in ("attention", *arguments, *options)])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    backbone = load_backbone(str(tiny_folder()))
    folder = tmp_path_factory.mktemp("neurons")
    paths = folder / "robot", folder / "mug", folder / "nobody"
    for path, subjects in zip(paths, ((ROBOT,), (MUG,), ()), strict=True):
        some_neurons(backbone, *subjects, step=3).save(path)
    return paths


def test_the_command_draws_a_figure(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    robot, mug, _ = files
    out = tmp_path / "new" / "maps.png"
    prompt = "a {} in the snow"
    result = run("--neurons", robot, "--neurons", mug, "--prompt", prompt, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    about = json.loads(result.stdout)
    words = "a sks robot and a zas mug in the snow"
    assert about == {
        "figure": str(out),
        "prompt": words,
        "seed": 0,
        "tokens": words.split(),
        "resolution": 8,
        "localisation": None,
    }
    with Image.open(out) as figure:
        assert figure.format == "PNG" and figure.width > 3 * figure.height


def test_the_command_measures_on_renders(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    options = ("--images", PHOTOS, "--num_renders", 2, "--resolution", 4, "--out", tmp_path)
    result = run("--neurons", files[0], *options)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["word", "figure", "before", "after", "gain"]
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["sks", "AUROC"], ["sks", "best"], ["robot", "AUROC"], ["robot", "best"]
    ]  # fmt: skip
    assert lines[5] == str(tmp_path / "attention.png") and (tmp_path / "attention.png").is_file()
    about = json.loads(run("--neurons", files[0], *options, "--json").stdout)
    assert about["resolution"] == 4
    (token, _) = about["localisation"]
    assert token["word"] == "sks" and 0 < token["auroc"]["after"] < 1
    assert {"before", "gain", "before_se", "gain_se"} <= token["iou"].keys()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ((), 2, "FILE: is missing; expected neuron files"),
        (("--neurons", "robot", "--neurons", "mug", "--images", PHOTOS), 2, "--images is of one"),
        (("--neurons", "nobody"), 2, "{} in --prompt stands for a subject: the neurons name none"),
        (
            ("--neurons", "robot", "--resolution", 5),
            1,
            "cones: --resolution: expected one that",
        ),
        (("--neurons", "robot", "--prompt", ""), 2, "cones: --prompt: expected some words"),
        (("--neurons", "robot", "--images", "none"), 1, "expected the look of a rendered subject"),
        (("--neurons", "none"), 1, "none: "),
    ],
)
def test_wrong_usage_is_one_line(
    files: tuple[Path, Path, Path], tmp_path: Path, options: Any, status: int, message: str
) -> None:
    named = [files[0].parent / each if each in ("robot", "mug", "nobody") else each
             for each in options]  # fmt: skip
    result = run(*named, "--out", tmp_path / "maps.png")
    assert result.exit_code == status, result.output
    assert message in result.stderr.splitlines()[-1]
    assert not (tmp_path / "maps.png").exists()
