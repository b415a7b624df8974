"""Adapters as neurons: what was exported comes back; what does something else is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import KINDS, drawn, small_backbone

from cones.errors import InputError
from cones.export import Client, export, read_neurons
from cones.models.backbone import Backbone

SHIRA = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return small_backbone("sd")


@pytest.mark.parametrize("which", ["text", "all"])
@pytest.mark.parametrize(
    ("to", "options"),
    [
        ("comfyui", {"names": "diffusers"}),
        ("comfyui", {"names": "original"}),
        ("comfyui", {"dtype": torch.float32}),
        ("shira", {}),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_exported_comes_back(
    kind: str, to: Client, options: Any, which: str, tmp_path: Path
) -> None:
    backbone = small_backbone(kind)
    for weight in backbone.denoiser.parameters():
        weight.data[weight.data == 0] = 1.0  # a weight of 0 cannot be seen to be shut
    neurons = drawn(backbone, which=which)
    path = tmp_path / "out.safetensors"
    export(backbone, neurons, path, to, **options)
    found = read_neurons(backbone, path, neurons.subjects)
    assert found.shapes == neurons.shapes and found.subjects == neurons.subjects
    assert all((found.indices[k] == index).all() for k, index in neurons.indices.items())
    assert found.strength == 1.0 and found.base.fingerprint


def test_one_line_says_at_how_many_places_it_is_something_else(
    backbone: Backbone, tmp_path: Path
) -> None:
    neurons = drawn(backbone)
    for to, name in (("comfyui", "half.safetensors"), ("shira", "half")):
        export(backbone, neurons, tmp_path / name, to, 0.5)  # type: ignore[arg-type]
        line = rf"at {len(neurons)} of the {len(neurons)} places that it changes"
        with pytest.raises(InputError, match=line):
            read_neurons(backbone, tmp_path / name, ())
    export(backbone, neurons, tmp_path / "one.safetensors", "comfyui")
    tensors = load_file(tmp_path / "one.safetensors")
    first = tensors[sorted(tensors)[0]].view(-1)
    first[first != 0] += torch.tensor(1.0)
    save_file(tensors, tmp_path / "one.safetensors")
    line = rf"at {int((first != 0).sum())} of the {len(neurons)} places"
    with pytest.raises(InputError, match=line):
        read_neurons(backbone, tmp_path / "one.safetensors", ())


def renamed(tensors: dict[str, torch.Tensor]) -> None:
    tensors["lora_unet_conv_in.diff"] = tensors.pop(sorted(tensors)[0])


def moved(tensors: dict[str, torch.Tensor]) -> None:
    next(each for name, each in sorted(tensors.items()) if "indices" in name)[0, 0] = 99_999


def repeated(tensors: dict[str, torch.Tensor]) -> None:
    indices = next(each for name, each in sorted(tensors.items()) if "indices" in name)
    indices[:, 1] = indices[:, 0]


def halved(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in sorted(tensors) if "weight" in name)]


def empty(tensors: dict[str, torch.Tensor]) -> None:
    for each in tensors.values():
        each.zero_()


def twice(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if "down_blocks_0_attentions_0" in name)
    other = name.replace("down_blocks_0_attentions_0", "input_blocks_1_1")
    tensors[other] = tensors[name].clone()


def reshaped(tensors: dict[str, torch.Tensor]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = tensors[name][:1].clone()


@pytest.mark.parametrize(
    ("to", "change", "line"),
    [
        ("comfyui", renamed, r"holds lora_unet_conv_in.diff, which is no SHiRA and no .diff"),
        ("comfyui", empty, r"at 0 of the 0 places"),
        ("comfyui", twice, r"expected one addition to the weight \[32, 32\], found 2"),
        ("comfyui", reshaped, r"expected one addition to the weight .* found 1 of \[1, 32\]"),
        ("shira", moved, r"found places outside of it, or one twice"),
        ("shira", repeated, r"found places outside of it, or one twice"),
        ("shira", halved, r"expected one addition .* found only shira_indices"),
    ],
)
def test_other_adapters_are_refused_in_one_line(
    backbone: Backbone, to: Client, change: Callable[[Any], None], line: str, tmp_path: Path
) -> None:
    export(backbone, drawn(backbone), tmp_path / "out.safetensors", to)
    path = tmp_path / "out.safetensors"
    file = path / SHIRA if path.is_dir() else path
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(InputError, match=line):
        read_neurons(backbone, path, ())


def test_files_that_are_none_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file; expected"):
        read_neurons(backbone, tmp_path, ())
    (tmp_path / "text.safetensors").write_text("hello, here is no adapter")
    with pytest.raises(InputError, match="expected a safetensors file, found"):
        read_neurons(backbone, tmp_path / "text.safetensors", ())
    shutil.rmtree(tmp_path)
