"""The command line's words: names as they are typed, what is meant by wrong ones, and values."""

import json
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from command_line import cones, fails, misused
from typer.main import get_command

from cones.cli import hints, values
from cones.cli.program import app
from cones.errors import InputError
from cones.files.paths import did_you_mean, local_path
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import load
from cones.subjects.photos import load_photos

SHARE = "expected a share of the weights, less than 1"
SAFETENSORS = "expected a name that ends in .safetensors, or a folder, found robot.cones"
ROBOT = ("--images=photos", "--class_noun", "robot")
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def names_of(command: str) -> set[str]:
    return {name for each in COMMANDS[command].params for name in each.opts if name[0] == "-"}


def test_a_flag_is_read_alike_in_all_commands() -> None:
    """One name, one parameter: its other names and its reader are the same everywhere."""
    apart = {"--batch", "--steps"}  # of a step or a drawing: they have other long names beside it
    seen: dict[str, set[tuple[str, ...]]] = {}
    for command in COMMANDS.values():
        for each in command.params:
            for name in each.opts:
                if name[0] == "-":
                    seen.setdefault(name, set()).add(tuple(sorted(each.opts)))
    assert {name for name, found in seen.items() if len(found) > 1} <= apart


def test_names_of_diffusers_scripts_serve() -> None:
    training = {
        "--pretrained_model_name_or_path", "--instance_data_dir", "--output_dir", "--learning_rate",
        "--max_train_steps", "--train_batch_size", "--prior_loss_weight", "--num_class_images",
        "--placeholder_token", "--initializer_token", "--mixed_precision", "--revision",
        "--gradient_checkpointing", "--seed",
    }  # fmt: skip
    assert training <= names_of("find") and training <= names_of("fit")
    drawing = {"--num_inference_steps", "--guidance_scale", "--num_images_per_prompt"}
    assert drawing <= names_of("generate")


def test_no_hint_stands_for_an_option_that_there_is() -> None:
    known = {name for command in COMMANDS for name in names_of(command)}
    assert {f"--{name}" for name in hints.OPTIONS} & known <= {"--resolution"}
    assert set(hints.COMMANDS.values()) <= COMMANDS.keys()
    assert not hints.COMMANDS.keys() & COMMANDS.keys()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("find", "--images"), "--images: expected a value, found nothing"),
        (("find", "--images", "--token", "x"), "--images: expected a value, found the option"),
        (("find", "-out", "x"), "-out: is no option; write --out"),
        (("find", "\u2014images", "x"), "\u2014images: is no option; write --images"),
        (("find", "--instance_prompt", "a sks dog"), "--instance_prompt: say its words apart: "),
        (("find", "--class-prompt", "a dog"), "--class-prompt: say its noun: "),
        (("find", "--guidance_scale", "3"), "there is no option --guidance_scale of cones find; "),
        (("find", "--max-train-steps", "0"), "--max-train-steps: expected at least 1, found 0"),
        (("find", "--train_batch_size=1000000000"), "--train_batch_size: expected 1 to 1024, "),
        (("generate", "--guidance_scale", "7,5"), "--guidance_scale: expected a number, found '7"),
        (("generate", "--seed", "-1"), "--seed: expected 0 to 1099511627776, found -1"),
        (("generate", "--out", ""), "--out: expected a path, found ''"),
        (("inspect", ""), "FILE: expected a path, found ''"),
        (("inspect", "--neurons"), "--neurons: expected a value, found nothing"),
        (("find", "--out", "robot.cones"), f"--out: {SAFETENSORS}; write robot.cones.safetensors"),
        (("combine", "-o", "both.png"), "-o: expected a name that ends in .safetensors, or a "),
        (("attention", "--out", "maps.jpg"), "--out: expected a name that ends in .png, or a "),
        (("generate", "--out", "robot.png"), "--out: expected a folder, found robot.png, which "),
        (("compare", "--cache", "a.json"), "--cache: expected a folder, found a.json, which "),
        (("find", "--rho", "1", *ROBOT), "--rho: has an effect with --algorithm paper only; "),
        (("find", "--validation_prompt", "a", *ROBOT), "--validation_prompt: has an effect with "),
        (("find", *ROBOT, "gnome"), "gnome: is not expected here; give options by their names; "),
        (("find", *ROBOT, "--dry_run"), "--dry_run: has an effect with --subjects_from only"),
        (("generate", "--prompt", ""), "--prompt: expected some words, found ''"),
        (("attention", __file__, "--prompt", " "), "--prompt: expected some words, found ' '"),
        (("compare",), "--subjects: is missing; expected folder of the subjects' folders"),
        (("find", *ROBOT, "--model", ""), "--model: expected a name or a path, found ''"),
        (("fit",), "--method: is missing; expected "),
        (("--bogus",), "No such option: --bogus"),
        (("trian",), "there is no command 'trian'; did you mean find?"),
        (("xyzzy",), "there is no command 'xyzzy'; there are find, tune, combine, "),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(arguments: tuple[str, ...], line: str) -> None:
    assert misused(*arguments).startswith(line)


def test_an_option_is_named_as_it_was_typed() -> None:
    both = ("--instance_data_dir", "a", "--instance-data-dir", "b", "--class-noun", "robot")
    line = misused("find", *both, "--token", "sks")
    assert line.startswith("2 --instance-data-dir, 1 --class-noun, 1 --token: give one of each")
    one = ("--images", "a", "--class_noun", "b", "--prior-loss-weight", "-1")
    assert fails("find", *one) == "--prior-loss-weight: expected at least 0, found -1.0"


@pytest.mark.parametrize("words", [("robot",), ("--neurons", "robot"), ("--neurons=robot",)])
def test_neuron_files_are_arguments_or_options(words: tuple[str, ...]) -> None:
    for command in ("inspect", "generate", "attention"):
        assert cones(command, *words).stderr.startswith("cones: robot: there is no such file")


def test_help_is_asked_for_in_any_way() -> None:
    for words in ((), ("-h",), ("--help",), ("find", "-h")):
        result = cones(*words)
        assert result.exit_code == 0 and result.stdout.startswith("Usage: ")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2.5%", 0.025), ("2.5 %", 0.025), ("0.025", 0.025), (".025", 0.025), ("1e-4", 1e-4),
        ("auto", "auto"), ("0.3%", 0.003), ("100e-2%", 0.01),
    ],
)  # fmt: skip
def test_densities_are_read_as_people_write_them(text: str, found: float | str) -> None:
    assert values.density(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,025", "expected a number, found '0,025'; write 0.025"),
        ("2,5%", "expected a number, found '2,5'; write 2.5"),
        ("2.5", f"{SHARE}, found 2.5; for 2.5 percent write 2.5%"),
        ("250%", "expected more than 0% and less than 100%, found 250%"),
        ("-1%", "expected more than 0% and less than 100%, found -1%"),
        ("1,000.5", "expected a number, found '1,000.5'"),
        ("half", "expected a number, found 'half'"),
        ("%", "expected a number, found ''"),
        ("", "expected a number, found ''"),
    ],
)  # fmt: skip
def test_other_densities_are_refused(text: str, message: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        values.density(text)
    assert str(caught.value) == message


def test_paths_have_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/x") == values.path("~/x") == tmp_path / "x"
    assert local_path("a~b/~c") == Path("a~b/~c")
    assert values.place("~/sd15") == str(tmp_path / "sd15") and values.place("a/b") == "a/b"
    neuron_file(tmp_path)
    neurons = load("~/robot.cones.safetensors")
    neurons.save("~/new/again.cones.safetensors")
    assert load(tmp_path / "new" / "again.cones.safetensors") == neurons
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/photos does not exist")):
        load_photos(Path("~/photos"))
    (tmp_path / "photographs").mkdir()
    with pytest.raises(InputError, match=r"does not exist; did you mean .*photographs\?"):
        load_photos(tmp_path / "photograph")
    for text in ("", "  ", "a\0b", "~nobody-here/x"):
        with pytest.raises(InputError):
            local_path(text)


def test_the_name_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "robot.cones.safetensors").touch()
    for name in ("Robot.cones.safetensors", "robot.cone.safetensor", "robot.safetensors"):
        assert did_you_mean(tmp_path / name).endswith("/robot.cones.safetensors?")
    assert did_you_mean(tmp_path / "something else") == ""
    (tmp_path / "photos").mkdir()
    assert did_you_mean(tmp_path / "photo" / "a.png") == f"; did you mean {tmp_path / 'photos'}?"
    assert did_you_mean(tmp_path / "b" / "c") == f"; there is no folder {tmp_path / 'b'}"


def test_outputs_are_files_or_folders_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "run.d").mkdir()
    to_neurons = values.result(".safetensors", ".cones.safetensors")
    for name in ("found", "v1.5", "run.d", "robot.cones.safetensors"):
        assert to_neurons(tmp_path / name) == tmp_path / name
    for name in ("out", "v1.5", "run.d"):
        assert values.folder(tmp_path / name) == tmp_path / name
    assert values.picture(tmp_path / "maps") == tmp_path / "maps.png"
    assert values.picture(tmp_path / "maps.png") == tmp_path / "maps.png"
    assert values.picture(tmp_path / "run.d") == tmp_path / "run.d"


def test_a_missing_or_repeated_neuron_file_is_one_line(tmp_path: Path) -> None:
    robot = tmp_path / "robot.cones.safetensors"
    robot.touch()
    (tmp_path / "link").symlink_to(robot)
    for words in ((robot, robot), (robot, tmp_path / "link"), ("--neurons", robot, robot)):
        assert "is given twice; give each file once" in misused("combine", *words)
    line = fails("inspect", tmp_path / "robot.safetensors")
    assert line.endswith(f"there is no such file; did you mean {robot}?")


def neuron_file(folder: Path, name: str = "robot") -> Path:
    path = folder / f"{name}.cones.safetensors"
    layers = {f"{'deep_' * 12}{n}.to_k": (64, 32) for n in range(400)}
    ConceptNeurons(layers, {next(iter(layers)): np.array([3])}).save(path)
    return path


def test_every_command_has_the_common_options() -> None:
    for command in COMMANDS:
        assert {"-q", "-v", "--quiet", "--verbose", "--json"} <= names_of(command)


def test_quiet_and_verbose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = neuron_file(tmp_path)

    def load(_: object) -> None:
        logging.getLogger("cones").info("a note")
        warnings.warn("a library's", UserWarning, stacklevel=1)
        logging.getLogger("cones").warning("a warning")
        raise InputError("an error")

    monkeypatch.setattr("cones.neurons.neuronfile.load", load)
    assert cones("inspect", robot).stderr.splitlines() == [
        "cones: a note", "cones: warning: a warning", "cones: an error"
    ]  # fmt: skip
    quiet = cones("inspect", robot, "-q").stderr.splitlines()
    assert quiet == ["cones: warning: a warning", "cones: an error"]
    told = cones("inspect", robot, "--verbose").stderr
    assert "cones: warning: a library's\n" in told and "Traceback (most recent call last):" in told
    assert misused("inspect", robot, "-q", "-v") == "-q and -v: give one of them"


def test_a_table_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    lines = cones("inspect", neuron_file(tmp_path)).stdout.splitlines()
    assert sum(line.startswith("deep_" * 12) for line in lines) == 400


def test_json_is_ascii_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "caf\u00e9 \udcff.safetensors"
    neuron_file(tmp_path).rename(path)
    stdout = cones("inspect", "--json", path).stdout
    assert stdout.isascii() and json.loads(stdout)[0]["file"] == str(path)


def test_nobody_need_read_what_is_printed(tmp_path: Path) -> None:
    """`cones ... | head` ends without a word; so does a closed stdout."""
    command = f"{sys.executable} -m cones inspect {neuron_file(tmp_path)}"
    for rest, status in (("| head -1; exit ${PIPESTATUS[0]}", 141), (">&-", 0)):
        words = ["bash", "-c", f"{command} {rest}"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=100)
        assert (done.stderr, done.returncode) == ("", status)
