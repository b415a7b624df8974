"""`cones export` and `cones import`: what they write and print, and their one line of refusal."""

import json
from pathlib import Path

import pytest
import torch
from command_line import fails, misused, passes
from safetensors.torch import load_file
from samples import drawn
from tiny import tiny_folder

from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.neuronfile import load


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_folder())


@pytest.fixture
def files(backbone: Backbone, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{token}.cones.safetensors" for token in ("sks", "ohwx")]
    for path in paths:
        drawn(backbone, path.name.split(".")[0]).save(path)
    return paths


@pytest.mark.parametrize("to", ["comfyui", "shira"])
def test_two_files_go_out_and_their_union_comes_back(
    to: str, files: list[Path], tmp_path: Path
) -> None:
    out, back = tmp_path / ("out" if to == "shira" else "out.safetensors"), tmp_path / "back"
    of = ("--model", tiny_folder())
    told = json.loads(passes("export", *files, "--to", to, "--out", out, *of, "--json").stdout)
    assert told["file"] == str(out) and told["bytes"] > 1000
    named = ("--token", "ohwx", "--class_noun", "robot", "--token", "sks", "--class_noun", "robot")
    passes("import", out, *of, *named, "--out", back)
    (path,) = back.iterdir()
    union, found = load(files[0]) | load(files[1]), load(path)
    assert path.name == "ohwx-robot-sks-robot.cones.safetensors"
    assert len(found) == len(union) == told["neurons"]
    assert [each.phrase for each in found.subjects] == ["ohwx robot", "sks robot"]
    passes("import", out, *of, *named, "--out", back)  # its older self is replaced
    other = ("--token", "zas", "--class_noun", "mug")
    assert "is another result" in fails("import", out, *of, *other, "--out", path)


def test_the_files_type_is_what_dtype_says(files: list[Path], tmp_path: Path) -> None:
    for dtype in ("float16", "float32"):
        out = tmp_path / f"{dtype}.safetensors"
        of = ("--model", tiny_folder(), "--to", "a1111", "--dtype", dtype)
        passes("export", files[0], *of, "--out", out)
        assert {each.dtype for each in load_file(out).values()} == {getattr(torch, dtype)}


def test_the_pipeline_is_written_and_opens(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    passes("export", files[0], "--model", tiny_folder(), "--to", "diffusers")
    neurons, shut = load(files[0]), load_backbone("sks-robot-diffusers")
    for layer, index in neurons.indices.items():
        weight = shut.denoiser.get_parameter(f"{layer}.weight").flatten()
        assert not weight[torch.tensor(index)].any()
    assert "is there already" in fails(
        "export", files[0], "--model", tiny_folder(), "--to", "diffusers"
    )


def test_wrong_usage_is_one_line(files: list[Path], tmp_path: Path) -> None:
    of = ("--model", tiny_folder())
    assert "--to" in misused("export", files[0], *of)
    assert "is of files" in misused("export", files[0], *of, "--to", "shira", "--names", "original")
    assert "looks like a file" in misused(
        "export", files[0], *of, "--to", "shira", "--out", tmp_path / "a.safetensors"
    )
    assert "ends in .safetensors" in misused(
        "export", files[0], *of, "--to", "forge", "--out", tmp_path / "lora.ckpt"
    )
    line = fails("export", files[0], *of, "--to", "forge", "--out", files[1])
    assert "is there, and no export of these subjects" in line
    line = misused("import", files[0], *of, "--token", "sks", "--class_noun", "a", "--token", "b")
    assert "give one of each" in line
    line = fails("import", files[0], *of, "--token", "sks", "--class_noun", "robot")
    assert "which is no SHiRA and no .diff" in line
