"""What files and arguments say reaches the terminal as printable lines, from every command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner, Result

from cones.cli.program import app
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.sampling.pictures import contact_sheet

EVIL = [
    "\x1b[2J\x1b]0;owned\x07",
    "\x1b]52;c;cm0gLXJmIC8=\x07",
    "x\ncones: all is well\r",
    "\u202egnp.exe\u2066",
    "\u200b\u2060\ufeff",
    "\x9b31m\x85\u2028",
    "[bold red]x[/bold red][/]",
    "$\\frac{",
    "A" * 100_000,
]


def cones(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    for line in (result.stdout + result.stderr).split("\n"):
        assert line.isprintable() and len(line) <= 1000, line[:2000]
    return result


def hostile_file(path: Path, evil: str, token: str) -> Path:
    ConceptNeurons(
        {f"a{evil}": (8, 8), "b": (4, 4)},
        {f"a{evil}": np.arange(9), "b": np.array([1, 3])},
        subjects=(SubjectInfo(f"{token}{evil}", f"robot{evil}", evil),),
        base=BaseInfo(evil, "ab" * 16),
        info={evil: evil, "algorithm": evil},
    ).save(path)
    return path


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_what_a_neuron_file_says(tmp_path: Path, evil: str) -> None:
    first = hostile_file(tmp_path / "a.safetensors", evil, "sks")
    second = hostile_file(tmp_path / "b.safetensors", evil, "zwx")
    result = cones("inspect", first)
    assert result.exit_code == 0 and result.stdout.count("\n") == 11
    told = json.loads(cones_json("inspect", first, "--json"))
    assert told[0]["subjects"][0]["prompt"] == evil and told[0]["info"][evil] == evil
    assert cones("combine", first, second, "-o", tmp_path / "c.safetensors").exit_code in (0, 1)
    result = cones("overlap", first, second, "--out", tmp_path / "o.png")
    assert result.exit_code == 0 and (tmp_path / "o.png").exists()


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_what_is_drawn(evil: str) -> None:
    image = Image.new("RGB", (8, 8))
    sheet = contact_sheet([[image]], [evil], [evil])
    assert sheet.width < 4000 and sheet.height < 2000


def cones_json(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0 and result.stdout.replace("\n", "").isprintable()
    return result.stdout


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_what_a_picture_says(tmp_path: Path, evil: str) -> None:
    texts = PngInfo()
    texts.add_text("cones", "1")
    texts.add_itxt("prompt", evil)
    for key in ("layers", "file", "hash", evil[:70].encode("ascii", "replace").decode()):
        texts.add_itxt(key, evil)
    Image.new("RGB", (2, 2)).save(tmp_path / "x.png", pnginfo=texts)
    result = cones("inspect", tmp_path / "x.png")
    assert result.exit_code == 0 and result.stdout.startswith(f"file             {tmp_path}")
    assert result.stdout.count("\n") == 6
    (told,) = json.loads(cones_json("inspect", tmp_path / "x.png", "--json"))
    assert told["file"] == str(tmp_path / "x.png") and told["prompt"] == evil


@pytest.mark.parametrize("evil", [*EVIL[:-1], "\ud800"], ids=range(len(EVIL)))
def test_what_the_user_types(tmp_path: Path, evil: str) -> None:
    for arguments in (
        ("inspect", evil),
        (evil,),
        ("inspect", f"--{evil}"),
        ("generate", "--prompt", "a robot", "--model", evil),
        ("find", "--images", tmp_path / "none", "--token", evil, "--class_noun", evil),
        ("generate", "--prompt", evil, "--out", tmp_path / "out", "--steps", evil),
    ):
        assert cones(*arguments).exit_code in (1, 2)
