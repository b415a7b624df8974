"""The commands of the README on the shipped model: they run, and say what they should."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cones.cli.program import app
from cones.neurons.neuronfile import load
from cones.sampling.pictures import read_provenance
from cones.search.config import FindConfig
from cones.toybox.render import look_from_seed, render_subject, save_subject


def run(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    save_subject(render_subject("robot", look_from_seed(123456), 5, 123456), folder)
    return folder


@pytest.fixture(scope="module")
def file(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("neurons") / "robot.cones.safetensors"
    out = run(
        "find", "--images", photos, "--class_noun", "robot", "--token", "sks", "--steps", 12,
        "--out", path, "--json",
    ).stdout  # fmt: skip
    about = json.loads(out)
    assert about["density"] == pytest.approx(FindConfig().density, rel=1e-4)
    return path


def test_a_few_steps_lower_the_loss_on_held_out_noise(file: Path) -> None:
    report = json.loads(load(file).info["report"])
    assert report["after"]["subject"] < report["before"]["subject"]


def test_pictures_are_drawn_and_remember_how(file: Path, tmp_path: Path) -> None:
    run(
        "generate", "--neurons", file, "--prompt", "a photo of a sks robot in the snow",
        "--num_images", 2, "--seed", 0, "--steps", 4, "--out", tmp_path,
    )  # fmt: skip
    drawn = sorted(tmp_path.glob("0*.png"))
    assert len(drawn) == 2 and (tmp_path / "contact_sheet.png").is_file()
    assert [read_provenance(path)["seed"] for path in drawn] == ["0", "1"]
    assert all(read_provenance(path)["model"] == "toybox" for path in drawn)


def test_evaluate_prints_one_json_object_and_nothing_else(
    file: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("a photo of a {} in the snow\n")
    out = run(
        "evaluate", "--neurons", file, "--images", photos, "--prompts", tmp_path / "prompts.txt",
        "--num_images", 1, "--seed", 0, "--json",
    ).stdout  # fmt: skip
    result = json.loads(out)
    for scores in (result, result["floor"], result["ceiling"]):
        assert -1 <= scores["text_alignment"] <= 1 and -1 <= scores["image_alignment"] <= 1
    gap = result["ceiling"]["image_alignment"] - result["floor"]["image_alignment"]
    gain = result["image_alignment"] - result["floor"]["image_alignment"]
    assert result["share"] == pytest.approx(gain / gap)
    assert result["drift"] >= -1e-6
    assert set(result["protocol"]) >= {"name", "version"}
