"""All commands open their base model by the same options, and each option does what it says."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import cones, fails, misused
from PIL import Image
from tiny import tiny_folder
from typer.main import get_command

from cones.cli import options
from cones.cli.opening import TOYBOX, Opening, opens_model
from cones.cli.program import app
from cones.sampling.pictures import read_provenance

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
WITHOUT = {"demo", "inspect", "overlap"}
OPTIONS = {f"--{each.name}" for each in fields(Opening)}


@pytest.mark.parametrize("command", COMMANDS.keys() - WITHOUT)
def test_every_command_that_opens_a_model_has_all_options(command: str) -> None:
    assert {name for each in COMMANDS[command].params for name in each.opts} >= OPTIONS


def test_a_command_gets_what_it_opens() -> None:
    @opens_model
    def command(first: int, opening: Opening = TOYBOX, as_json: options.AsJson = False) -> None:
        got.extend([first, opening, as_json])

    got: list[Any] = []
    names = [*inspect.signature(command).parameters]
    assert names == ["first", *(each.name for each in fields(Opening)), "as_json"]
    given = {each.name: each.default for each in fields(Opening)} | {"device": "cuda"}
    command(first=1, as_json=True, **given)
    assert got == [1, Opening(device="cuda"), True]


def draw(out: Path, *words: object) -> dict[str, str]:
    """The provenance of a picture that `cones generate` draws."""
    base = ("--model", tiny_folder(), "--prompt", "a mug", "--num_inference_steps", "2")
    result = cones("generate", *base, "--out", out, *words)
    assert result.exit_code == 0, result.stderr
    (path,) = out.glob("0000-*.png")
    with Image.open(path) as image:
        found = read_provenance(path)
        assert image.size == (int(found["width"]), int(found["height"]))
    return found


def test_pictures_are_drawn_as_asked_for(tmp_path: Path) -> None:
    found = draw(
        tmp_path, "--height", "24", "--width", "32", "--dtype", "bfloat16", "--device", "cpu",
        "--scheduler", "EulerAncestralDiscreteScheduler", "--prediction_type", "epsilon",
    )  # fmt: skip
    assert (found["height"], found["width"]) == ("24", "32")
    assert (found["dtype"], found["scheduler"]) == ("bfloat16", "EulerAncestralDiscreteScheduler")
    assert "Sampler: Euler a" in found["parameters"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--height", "17"), "--height: expected a multiple of 8, found 17"),
        (("--width", "8000000"), "--width: expected 8 to 8192, found 8000000"),
        (("--scheduler", "euler"), "--scheduler 'euler': draws no Stable Diffusion 1 or 2; "),
        (("--device", "gpu"), "--device 'gpu': is not here; expected cpu"),
        (("--variant", "fp16"), "has no variant 'fp16'"),
        (("--revision", "v2"), "--revision 'v2': is of a hub name, but the model is a folder"),
    ],
)
def test_what_cannot_be_is_one_line(words: tuple[str, ...], line: str, tmp_path: Path) -> None:
    base = ("generate", "--model", tiny_folder(), "--prompt", "a mug", "--out", tmp_path / "out")
    assert line.removeprefix("--") in fails(*base, *words)


def test_words_that_are_none_are_refused_before_anything_is_opened() -> None:
    for words in (("--dtype", "fp8"), ("--prediction_type", "sample")):
        assert misused("generate", "--prompt", "a mug", *words).startswith(f"{words[0]}: ")


def test_float16_on_a_cpu_is_warned_of(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("the device is chosen")
    base = ("--model", tiny_folder(), "--prompt", "a mug", "--num_inference_steps", "1")
    result = cones("generate", *base, "--out", tmp_path, "--dtype", "float16")
    assert "warning: float16 on a CPU takes many times as long as float32" in result.stderr
