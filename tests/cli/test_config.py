"""`--config`: options in a file; `cones inspect --config`: how a result is made again."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from command_line import QUICK, cones, fails, misused, of, passes
from PIL import Image
from tiny import tiny_folder

from cones.cli.config import to_toml
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import load


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def written(folder: Path, text: str, name: str = "a.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("algorithm", ["mask-in-loop", "paper"])
def test_a_file_is_found_again_from_what_it_says(
    photos: Path, tmp_path: Path, algorithm: str
) -> None:
    first, again = tmp_path / "a.safetensors", tmp_path / "again.safetensors"
    options = ("--algorithm", algorithm, "--density", "1%", "--token", "zas", "--prior_images", 2)
    more = ("--prior_batch", 2, "--seed", 3, "--mixed_precision", "bf16", "--dtype", "float32")
    passes("find", *QUICK, *of(photos), *options, *more, "--out", first)
    for flags in ((), ("--json",)):
        told = passes("inspect", first, "--config", *flags).stdout
        file = written(tmp_path, told)
        given = ("--images", photos, "--model", tiny_folder(), "--overwrite")
        passes("find", "--config", file, *given, "--out", again)
        assert again.read_bytes() == first.read_bytes()


def test_a_tuned_file_is_made_again(photos: Path, tmp_path: Path) -> None:
    found, tuned, again = (tmp_path / f"{name}.safetensors" for name in "abc")
    passes("find", *QUICK, *of(photos), "--out", found)
    given = (found, "--images", photos, "--model", tiny_folder())
    passes("tune", *given, *QUICK, "--precision", "float16", "--prior_images", 2, "--out", tuned)
    file = written(tmp_path, passes("inspect", tuned, "--config").stdout)
    passes("tune", "--config", file, *given, "--out", again)
    assert again.read_bytes() == tuned.read_bytes()


def test_what_is_typed_goes_before_the_file(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    file = written(
        tmp_path,
        f"""
        images = '{photos}'
        class-noun = ["robot"]
        token = "zas"
        max_train_steps = 7
        batch = 2
        density = "1%"
        distill = false
        quiet = true
        overwrite = false
        """,
    )
    given = ("--steps", 1, "--model", tiny_folder(), "--out", out)
    result = passes("find", "--config", file, *given)
    config = json.loads(load(out).info["config"])
    assert (config["steps"], config["batch"], config["distill"]) == (1, 2, False)
    assert load(out).subjects[0].token == "zas" and "robot" in load(out).subjects[0].class_noun
    assert result.stderr == ""


def test_neuron_files_stand_in_a_file_too(tmp_path: Path) -> None:
    for name in "ab":
        info = (SubjectInfo(f"{name}as", "mug"),)
        ConceptNeurons({"k": (2, 2)}, {"k": np.array([1])}, subjects=info).save(tmp_path / name)
    file = written(tmp_path, json.dumps({"neurons": [str(tmp_path / "a")], "json": True}))
    told = misused("combine", "--config", file)
    assert told == "give two neuron files or more"
    both = (tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c.safetensors")
    assert json.loads(passes("combine", "--config", file, *both).stdout)["neurons"] == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("densty = 3", "{}: there is no option --densty of cones find; did you mean --density?"),
        ("instance_prompt = 'a'", "{}: --instance_prompt: say its words apart: "),
        ("guidance = 3", "{}: there is no option --guidance of cones find; it is one of generate"),
        ("config = 'a'", "{}: there is no option --config of cones find; "),
        ("steps = 1.5", "steps in {}: expected a whole number, found '1.5'"),
        ("steps = true", "steps in {}: expected a text or a number, found True"),
        ("steps = [1, 2]", "steps in {}: expected a text or a number, found a list"),
        ("token = [[1]]", "token in {}: expected a text or a number or a list of them, found a l"),
        ("overwrite = 'yes'", "overwrite in {}: expected true or false, found 'yes'"),
        ("algorithm = 'magic'", "algorithm in {}: 'magic' is not one of 'mask-in-loop'"),
        ("rho = 1", "rho in {}: has an effect with --algorithm paper only; leave it out"),
        ("[find]\nsteps = 1", "{}: there is no option --find of cones find"),
        ("class_noun = ['a', 'b']", "1 --images, 2 class_noun in {}, 1 --token: give one of each"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, text: str, line: str) -> None:
    file = written(tmp_path, text)
    rest = () if text.startswith("class_noun") else ("--class_noun", "robot")
    told = misused("find", "--images", tmp_path, *rest, "--config", file)
    assert told.startswith(line.format(file))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("steps: 3", "{}: cannot be read as TOML ("),
        ('{"steps": 3', "{}: cannot be read as JSON ("),
        ('{"steps": 3, "steps": 4}', "{}: cannot be read as JSON (the key 'steps' is there twice)"),
        ("steps = 1\nsteps = 2", "{}: cannot be read as TOML ("),
    ],
)
def test_files_of_no_settings_are_one_line(tmp_path: Path, text: str, line: str) -> None:
    file = written(tmp_path, text)
    assert fails("tokens", "--config", file).startswith(line.format(file))
    assert "did you mean" in fails("tokens", "--config", tmp_path / "b.toml")
    assert "expected UTF-8" in fails("tokens", "--config", _latin(tmp_path))


def _latin(folder: Path) -> Path:
    path = folder / "latin.toml"
    path.write_bytes(b"token = '\xe9'")
    return path


def test_every_command_reads_a_file(tmp_path: Path) -> None:
    file = written(tmp_path, "bogus = 1")
    for command in ("find", "generate", "combine", "tune", "evaluate", "compare", "demo", "fit"):
        line = misused(command, "--config", file)
        assert line.startswith(f"{file}: there is no option --bogus of cones {command}")


def test_texts_survive_toml() -> None:
    settings = {"a": 'say "hi"\\n', "b": ["\u00e9", "\U0001f916", "\x7f"], "c": 2e-05, "d": True}
    text = to_toml(settings)
    assert text.isascii() and tomllib.loads(text) == settings


def test_what_does_not_say_how_it_was_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    ConceptNeurons({"k": (2, 2)}, {}, subjects=(SubjectInfo("sks", "mug"),)).save(path)
    assert "does not say how it was found" in fails("inspect", path, "--config")
    assert cones("inspect", path).exit_code == 0
