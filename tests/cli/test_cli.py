"""The command line: what it makes, what it prints, and its one line about what goes wrong."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import QUICK, cones, fails, misused, of, passes
from PIL import Image
from tiny import tiny_folder
from typer.main import get_command

from cones.cli.console import _pace
from cones.cli.program import app
from cones.evaluation import PROMPTS
from cones.neurons.neuronfile import file_hash, load
from cones.sampling.pictures import read_provenance
from cones.search.config import FindConfig


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def robot(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("found") / "robot.cones.safetensors"
    passes("find", *QUICK, *of(photos), "--out", path)
    return path


# -- find ------------------------------------------------------------------------------------------


def test_find_writes_a_neuron_file(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "mug.cones.safetensors"
    options = ("--token", "zas", "--density", "0.02", "--seed", "3")
    result = passes("find", *QUICK, *of(photos, "mug"), *options, "--out", path)
    neurons = load(path)
    assert [(s.token, s.class_noun) for s in neurons.subjects] == [("zas", "mug")]
    assert neurons.density == pytest.approx(0.02, abs=1e-3)
    assert json.loads(neurons.info["config"])["seed"] == 3
    assert neurons.base.name == "tiny"
    words = " ".join(result.stdout.split())
    for part in (
        "held-out noise before after",
        f"{len(neurons):,} neurons, 2.00% of {neurons.size:,} weights",
        f"strength {neurons.strength:g}",
        f"{path}: {path.stat().st_size:,} bytes",
        f'next: cones generate --neurons "{path}"',
    ):
        assert part in words
    assert "search" in result.stderr and "2/2" in result.stderr


def test_find_reads_the_names_of_diffusers_scripts(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "class"
    other.mkdir()
    Image.new("RGB", (16, 16), "red").save(other / "0.png")
    result = passes(
        "find", *QUICK, "--instance_data_dir", photos, "--class-noun", "robot", "--output_dir",
        tmp_path, "--pretrained_model_name_or_path", tiny_folder(), "--class_data_dir", other,
        "--mixed_precision", "bf16", "--json",
    )  # fmt: skip
    about = json.loads(result.stdout)
    path = tmp_path / "sks-robot.cones.safetensors"
    assert about["file"] == str(path) and about["bytes"] == path.stat().st_size
    assert {"before", "after"} <= about["report"].keys()


def test_photographs_that_stand_for_two_things_are_refused(photos: Path, tmp_path: Path) -> None:
    line = fails("find", *of(photos), "--class_data_dir", photos)
    assert line.startswith("class images of 'robot': 3 are photographs of sks robot, whose look")
    second = ("--token", "sks", "--images", photos, "--class_noun", "mug", "--token", "ohwx")
    line = fails("find", *of(photos), *second)
    assert line.startswith("photographs: 3 are given for sks robot and for ohwx mug too; give each")
    (tmp_path / "class").mkdir()
    line = fails("find", *of(photos), "--class_data_dir", tmp_path / "class")
    assert line.startswith(f"the class folder {tmp_path / 'class'} is empty; put images of the")


def test_files_of_a_folder_are_one_subject(photos: Path, robot: Path, tmp_path: Path) -> None:
    """As a shell makes them of `photos/*.png`, and that pattern itself."""
    words = ("--class_noun", "robot", "--model", tiny_folder())
    for number, images in enumerate((sorted(photos.iterdir()), [photos / "*.png"])):
        out = tmp_path / f"{number}.safetensors"
        passes("find", *QUICK, "--images", *images, *words, "--out", out)
        assert out.read_bytes() == robot.read_bytes()
    other = tmp_path / "b.png"
    Image.new("RGB", (16, 16)).save(other)
    told = misused("find", "--images", *photos.iterdir(), other, "--class_noun", "robot")
    assert "2 --images, 1 --class_noun" in told


def test_metadata_of_the_renderer_is_not_spoken_of(photos: Path, tmp_path: Path) -> None:
    for path in photos.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "0.png"}')
    result = passes("find", *QUICK, *of(tmp_path), "--out", tmp_path / "x.safetensors")
    assert "skipped" not in result.stderr


def test_the_same_seed_gives_the_same_file(photos: Path, robot: Path, tmp_path: Path) -> None:
    passes("find", *QUICK, *of(photos), "--out", tmp_path / "again")  # a folder
    assert (tmp_path / "again" / "sks-robot.cones.safetensors").read_bytes() == robot.read_bytes()


def test_find_says_what_there_is_to_know_about_the_photographs(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / "only.png")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "broken.jpg").write_text("no image")
    lines = passes("find", *QUICK, *of(tmp_path), "--out", tmp_path).stderr.splitlines()
    told = [line for line in lines if line.startswith("cones: ")]
    told = [line for line in told if "held-out noise" not in line]  # of so short a search
    assert len(told) == 3
    assert "holds one photograph only" in " ".join(told)
    assert f"cones: {tmp_path / 'notes.txt'} was skipped: captions or metadata" in told
    assert any("broken.jpg was skipped" in line for line in told)
    assert not [line for line in lines if "AutoencoderTiny" in line]  # no library's own lines


def test_the_printed_defaults_are_those_of_the_search() -> None:
    options: Any = get_command(app).commands["find"].params  # type: ignore[attr-defined]
    shown = {option.name: option.show_default for option in options}
    names = {"density", "steps", "batch", "algorithm", "layers", "strength_in_loop", "seed"}
    names |= {"prior_weight"}
    assert {name: shown[name] for name in names} == {
        name: str(getattr(FindConfig(), name)) for name in names
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--density", "0"), "--density: expected more than 0 and less than 1, found 0.0; "),
        (("--density", "nan"), "--density: expected more than 0 and less than 1, found nan; "),
        (
            ("--token", "unusualword"),
            "token 'unusualword': expected one token, found ",
        ),
        (("--token", "robot"), "token 'robot': is the class noun itself; use a rare single token "),
        (("--token", ""), "token '': expected a word, such as 'sks'"),
    ],
)
def test_what_cannot_be_found_is_refused(
    photos: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    line = fails("find", *QUICK, *of(photos), "--out", tmp_path / "x.safetensors", *options)
    assert line.startswith(message)
    assert not (tmp_path / "x.safetensors").exists()


def test_no_steps_from_checkpoint_to_checkpoint_are_refused(photos: Path, tmp_path: Path) -> None:
    line = misused("find", *of(photos), "--out", tmp_path, "--checkpointing_steps", "0")
    assert line == "--checkpointing_steps: expected at least 1, found 0"


def test_an_empty_class_noun_is_refused(photos: Path, tmp_path: Path) -> None:
    line = fails("find", *of(photos, " "), "--out", tmp_path)
    assert line.startswith("class noun: expected what the subject is") and "found ' ';" in line


def test_bad_photographs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "afile").write_text("no image")
    line = fails("find", *of(tmp_path / "afile"))
    assert line.startswith(f"{tmp_path / 'afile'} cannot be used: no JPEG, PNG, WebP or BMP image")
    (tmp_path / "empty").mkdir()
    assert "is empty; put the subject's photographs into it" in fails(
        "find", *of(tmp_path / "empty")
    )
    assert "does not exist; give the folder" in fails("find", *of(tmp_path / "none"))


def test_an_output_that_cannot_be_written_is_refused_before_the_search(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    line = fails("find", *of(photos), "--out", tmp_path / "file" / "robot.cones.safetensors")
    assert line.startswith(f"{tmp_path / 'file'}: is no folder that can be written (")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("find", "--class_noun", "robot"), "give --images and --class_noun"),
        (("find", "--images", "photos"), "give --images and --class_noun"),
        (
            ("find", "--densty", "1"),
            "there is no option --densty of cones find; did you mean",
        ),
        (("find", "--algorithm", "magic"), "--algorithm: 'magic' is not one of 'mask-in-loop', "),
        (("generate", "--num_images", "0"), "--num_images: expected 1 to 100000, found 0"),
        (("generate", "--num_images", "two"), "--num_images: expected a whole number, found 'two'"),
        (("generate",), "give a --prompt, or --neurons"),
        (("generate", "--prompt", "a {}"), "{} in a prompt stands for"),
        (("inspect",), "FILE: is missing; expected neuron files"),
        (("paint",), "there is no command 'paint'; did you mean generate?"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    assert misused(*arguments).startswith(message)


# -- generate --------------------------------------------------------------------------------------


def drawn(*options: object) -> list[dict[str, str]]:
    result = passes("generate", "--model", tiny_folder(), "--steps", 2, "--json", *options)
    pictures: list[dict[str, str]] = json.loads(result.stdout)["pictures"]
    return pictures


def test_generate_saves_pictures_and_a_sheet(robot: Path, tmp_path: Path) -> None:
    result = passes(
        "generate", "--model", tiny_folder(), "--steps", 2, "--neurons", robot,
        "--prompt", "a {} in the snow", "--prompt", "a photo of the {}", "--num_images", 2,
        "--seed", 5, "--out", tmp_path / "out",
    )  # fmt: skip
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert [path.name for path in paths] == [
        "0000-seed5-a-sks-robot-in-the-snow.png",
        "0001-seed6-a-sks-robot-in-the-snow.png",
        "0002-seed5-a-photo-of-the-sks-robot.png",
        "0003-seed6-a-photo-of-the-sks-robot.png",
        "contact_sheet.png",
    ]
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    assert Image.open(paths[-1]).width > 2 * 128
    assert read_provenance(paths[1])["neurons"] == file_hash(robot)


def test_a_picture_is_drawn_again_from_its_provenance(robot: Path, tmp_path: Path) -> None:
    options = ("--neurons", robot, "--strength", 1.5, "--negative_prompt", "a mug")
    path = drawn(*options, "--seed", 7, "--out", tmp_path / "a")[0]["file"]
    text = read_provenance(path)
    again = drawn(
        "--neurons", robot, "--strength", text["strength"], "--seed", text["seed"],
        "--negative_prompt", text["negative_prompt"], "--prompt", text["prompt"],
        "--guidance", text["guidance"], "--out", tmp_path / "b",
    )  # fmt: skip
    assert Image.open(path).tobytes() == Image.open(again[0]["file"]).tobytes()
    assert read_provenance(again[0]["file"]) == text


def test_prompts_come_from_a_file(robot: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a {} at night\n\n  a {} in the café  \n", encoding="utf-8")
    pictures = drawn("--neurons", robot, "--prompts", prompts, "--out", tmp_path / "out")
    assert [p["prompt"] for p in pictures] == ["a sks robot at night", "a sks robot in the café"]
    assert read_provenance(pictures[1]["file"])["prompt"] == "a sks robot in the café"
    prompts.write_bytes(b"\xff\xfe")
    assert fails("generate", "--prompts", prompts).endswith("no text at all; save it as UTF-8")


def test_several_neuron_files_are_shut_together(robot: Path, photos: Path, tmp_path: Path) -> None:
    mug = tmp_path / "mug.cones.safetensors"
    passes("find", *QUICK, *of(photos, "mug"), "--token", "zas", "--out", mug)
    pictures = drawn("--neurons", robot, "--neurons", mug, "--out", tmp_path / "out")
    assert pictures[0]["prompt"] == "a photo of a sks robot and a zas mug"
    assert pictures[0]["neurons"] == " ".join(sorted([file_hash(robot), file_hash(mug)]))


def test_the_base_model_is_drawn_for_comparison(robot: Path, tmp_path: Path) -> None:
    options = ("--neurons", robot, "--out", tmp_path)
    (shut,), (base,) = drawn(*options), drawn(*options, "--no_neurons", "--strength", 1)
    assert shut["prompt"] == base["prompt"] == "a photo of a sks robot"
    assert base["neurons"] == "" and base["weights"] == base["fingerprint"] != shut["weights"]


def test_a_prompt_without_token_or_class_noun_is_warned_of(robot: Path, tmp_path: Path) -> None:
    def warned(prompt: str) -> str:
        options = ("--neurons", robot, "--steps", 1, "--out", tmp_path, "--prompt", prompt)
        return passes("generate", "--model", tiny_folder(), *options).stderr.splitlines()[0]

    assert warned("a robot") == (
        "cones: warning: prompt 'a robot': names no subject of the neurons; say 'sks robot'"
    )
    assert warned("a sks at night") == (
        "cones: warning: prompt 'a sks at night': says 'sks' without 'robot'; say 'sks robot', as "
        "it was found with"
    )
    assert warned("a sks robot" + " and a mug" * 10).endswith(
        "has 33 tokens, tiny reads the first 30; what follows has no effect"
    )


def test_a_fine_tune_is_warned_of(robot: Path, tmp_path: Path) -> None:
    from tiny import tiny_pipeline

    tiny_pipeline(seed=1).save_pretrained(tmp_path / "other")
    options = ("--neurons", robot, "--model", tmp_path / "other", "--steps", 1, "--out", tmp_path)
    first = passes("generate", *options).stderr.splitlines()[0]
    assert first.startswith("cones: warning: the neurons were found in tiny (")


def test_a_prompt_that_cuts_the_token_off_is_refused(robot: Path, tmp_path: Path) -> None:
    prompt = "a mug and " * 10 + "a sks robot"
    options = ("--neurons", robot, "--out", tmp_path, "--prompt", prompt)
    assert fails("generate", "--model", tiny_folder(), *options) == (
        f"prompt {prompt!r}: 'sks' stands behind token 30, where tiny cuts prompts off (33 tokens "
        "found); shorten the prompt"
    )


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    options = ("--prompt", "a mug", "--out", tmp_path / "out")
    assert fails("generate", "--model", tiny_folder(), *options) == (
        f"{tmp_path / 'out'}: is no folder that can be written (File exists); name another place"
    )


@pytest.mark.parametrize("options", [("--strength", "3"), ("--strength", "nan")])
def test_a_strength_out_of_range_is_refused(
    robot: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    line = fails(
        "generate", "--model", tiny_folder(), "--neurons", robot, "--out", tmp_path, *options
    )
    assert line.startswith("--strength: expected 0 to 2, found")


def test_a_model_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    options = ("--prompt", "a mug", "--out", tmp_path, "--model", "nobody/nothing")
    assert fails("generate", *options).startswith("model 'nobody/nothing': is no file or folder")


# -- inspect, evaluate -----------------------------------------------------------------------------


def test_inspect_shows_a_neuron_file(robot: Path) -> None:
    neurons = load(robot)
    words = " ".join(passes("inspect", robot).stdout.split())
    for part in (
        f"file {robot} ({file_hash(robot)})",
        "subjects sks robot",
        f"base model tiny ({neurons.base.fingerprint[:8]})",
        "algorithm mask-in-loop",
        f"neurons {len(neurons):,} of {neurons.size:,} weights, {neurons.density:.3%}",
        f"size {robot.stat().st_size:,} bytes",
        "layer shape neurons density",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_k 64x32",
    ):
        assert part in words


def test_inspect_shows_a_picture(robot: Path, tmp_path: Path) -> None:
    (picture,) = drawn("--neurons", robot, "--out", tmp_path)
    assert "prompt           a photo of a sks robot\n" in passes("inspect", picture["file"]).stdout
    both = json.loads(passes("inspect", "--json", robot, picture["file"]).stdout)
    assert both[0]["hash"] == both[1]["neurons"]
    assert both[0]["layers"].keys() == load(robot).shapes.keys()
    assert both[1] == picture


def test_inspect_refuses_what_is_neither(tmp_path: Path) -> None:
    plain, text = tmp_path / "plain.png", tmp_path / "text"
    Image.new("RGB", (8, 8)).save(plain)
    text.write_text("no neurons")
    assert "expected a picture that cones has drawn" in fails("inspect", plain)
    assert "expected a safetensors file" in fails("inspect", text)
    assert "there is no such file" in fails("inspect", tmp_path / "none")
    assert "is a folder" in fails("inspect", tmp_path)


def test_evaluate_prints_scores(robot: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Evaluation:
        def as_dict(self) -> dict[str, Any]:
            scores = {"text_alignment": 0.25, "image_alignment": 0.75}
            return {
                **scores,
                "se": {"text_alignment": 0.01, "image_alignment": None},
                "floor": scores,
                "ceiling": None,
                "drift": 0.125,
                "presence": 0.75,
                "strength": 1.5,
                "density": 0.05,
                "bytes": 1234,
                "n": 20,
                "protocol": {"name": "toybox", "version": 1, "features": "0123"},
            }

    def evaluate(*arguments: Any, **named: Any) -> Evaluation:
        given.update(named, prompts=arguments[3], seeds=arguments[4])
        return Evaluation()

    monkeypatch.setattr(sys.modules["cones.evaluation"], "evaluate", evaluate)
    options = ("--neurons", robot, "--images", photos, "--model", tiny_folder(), "--seed", 2)
    words = " ".join(passes("evaluate", *options, "--strength", 1.5).stdout.split())
    assert "text alignment 0.250 0.250 ± 0.010 unknown image alignment 0.750 0.750" in words
    assert "drift without the token: 0.125; its class is seen in 75% of the pictures" in words
    assert (
        "strength 1.5, 5.00% of the weights, 1,234 bytes; protocol toybox 1, features 0123" in words
    )
    assert given["prompts"] == PROMPTS and given["seeds"] == range(2, 6)
    assert given["strength"] == 1.5
    assert json.loads(passes("evaluate", *options, "--json").stdout)["drift"] == 0.125


# -- all -------------------------------------------------------------------------------------------


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


MEMORY = (
    "out of memory; use, where the command has them, a smaller --batch, --dtype bfloat16, "
    "--gradient_checkpointing, a smaller --height and --width; or a smaller model"
)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, MEMORY),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"), 1, MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 1, MEMORY),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), 1, MEMORY),
        (RuntimeError("CUDA error: out of memory"), 1, MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), 1, MEMORY),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), 1, MEMORY),
        (RuntimeError("Invalid buffer size: 64.00 GiB"), 1, MEMORY),
    ],
)
def test_interruption_and_lack_of_memory_are_one_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("cones.neurons.neuronfile.load", fail)
    assert fails("inspect", __file__, status=status) == line


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("cones.neurons.neuronfile.load", fail)
    assert isinstance(cones("inspect", __file__).exception, RuntimeError)


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (1, 10, 3.0, "3.0 s each, 0:00:27 left"),
        (8, 16, 2.0, "4.0/s, 0:00:02 left"),
        (16, 16, 4.0, "4.0/s, 0:00:04 in all"),
        (1, 2, 0.0, "1000000.0/s, 0:00:00 left"),
    ],
)
def test_progress_has_a_rate_and_an_estimate(
    done: int, total: int, seconds: float, text: str
) -> None:
    assert _pace(done, total, seconds) == text


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom cones.cli.program import main\nsys.argv[1:] = ['--help']\n"
        "try:\n    main()\nexcept SystemExit:\n"
        "    print(*{'torch', 'numpy', 'diffusers', 'transformers'} & sys.modules.keys())"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("Usage: ") and done.stdout.splitlines()[-1] == ""
    assert time.monotonic() - began < 5  # 0.3 s on an idle machine


def test_nothing_but_our_own_lines_is_printed(tmp_path: Path) -> None:
    """In a fresh interpreter: the libraries speak when they are imported."""
    arguments = ["generate", "--model", str(tiny_folder()), "--prompt", "a mug", "--steps", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "cones", *arguments, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [
        str(tmp_path / "0000-seed0-a-mug.png"),
        str(tmp_path / "contact_sheet.png"),
    ]
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["draw"]
