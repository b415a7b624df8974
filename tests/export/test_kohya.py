"""The LoRA file: its tensors, its metadata, and what has no place in it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from samples import drawn, shut_weights, small_backbone, weights
from tiny_families import PIPELINES

from cones.errors import BaseModelError, InputError
from cones.export import export
from cones.export.kohya import tensor_name
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lora.safetensors"


def test_base_plus_difference_is_the_shut_weight_and_nothing_else_is_in_the_file(
    path: Path,
) -> None:
    backbone = small_backbone("sd")
    neurons = drawn(backbone, which="text")
    export(backbone, neurons, path, "a1111")
    base, ours, file = weights(backbone), shut_weights(backbone, neurons), load_file(path)
    for layer in neurons.indices:
        diff = file.pop(f"{tensor_name(layer, 'diffusers', 2)}.diff")
        assert diff.dtype == torch.float16
        assert torch.equal(base[f"{layer}.weight"] + diff, ours[f"{layer}.weight"])
    assert not file


def test_several_subjects_are_their_union_whatever_their_order(tmp_path: Path) -> None:
    backbone = small_backbone("sd")
    a, b = drawn(backbone, "sks"), drawn(backbone, "ohwx")
    files = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for file, sets in zip(files, ([a, b], [b, a], a | b), strict=True):
        export(backbone, sets, file, "comfyui")
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()


@pytest.mark.parametrize("strength", [0.5, 2.0, None])
def test_a_strength_and_tuned_values_go_into_the_difference(
    path: Path, strength: float | None
) -> None:
    backbone = small_backbone("sd")
    neurons = drawn(backbone, which="text")
    values = {layer: np.full(len(i), 0.5, np.float32) for layer, i in neurons.indices.items()}
    tuned = replace(neurons, values=values, strength=0.75)
    export(backbone, tuned, path, "forge", strength, dtype=torch.float32)
    base, ours, file = weights(backbone), shut_weights(backbone, tuned, strength), load_file(path)
    for layer in neurons.indices:
        found = base[f"{layer}.weight"] + file[f"{tensor_name(layer, 'diffusers', 2)}.diff"]
        torch.testing.assert_close(found, ours[f"{layer}.weight"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "base", "first"),
    [
        ("sd", "sd_v1", "lora_unet_down_blocks"),
        ("sdxl", "sdxl_base_v1-0", "lora_unet_input_blocks"),
    ],
)
def test_the_metadata_say_model_and_words_and_the_names_are_the_kinds_own(
    path: Path, kind: str, base: str, first: str
) -> None:
    backbone = small_backbone(kind)
    export(backbone, drawn(backbone), path, "comfyui")
    with safe_open(path, "pt") as file:
        names, metadata = list(file.keys()), file.metadata()
    assert any(name.startswith(first) for name in names)
    assert metadata["ss_base_model_version"] == base
    assert json.loads(metadata["ss_tag_frequency"]) == {"sks robot": {"sks robot": 1}}
    assert metadata["modelspec.trigger_phrase"] == "sks robot"
    assert metadata["ss_v2"] == "False"


@pytest.mark.parametrize("kind", ["sd3", "flux", "pixart"])
def test_transformers_are_refused_in_one_line(path: Path, kind: str) -> None:
    backbone = load_backbone(PIPELINES[kind]())
    with pytest.raises(InputError, match=r"expected a UNet .* found a .*2DModel, whose .* shira$"):
        export(backbone, drawn(backbone), path, "comfyui")
    assert not path.exists()


def test_an_export_of_the_same_subjects_is_replaced_and_nothing_else_is(path: Path) -> None:
    backbone = small_backbone("sd")
    for _ in range(2):
        export(backbone, drawn(backbone, "sks"), path, "comfyui")
    before = path.read_bytes()
    for other in (path, path.with_name("sks.cones.safetensors"), path.with_name("notes.txt")):
        if other != path:
            drawn(backbone).save(other)
        with pytest.raises(InputError, match="is there, and no export of these subjects"):
            export(backbone, drawn(backbone, "ohwx"), other, "comfyui")
    assert path.read_bytes() == before


def test_a_difference_too_large_for_float16_is_refused(path: Path) -> None:
    backbone = small_backbone("sd")
    neurons = drawn(backbone, which="text")
    values = {layer: np.full(len(i), 1e6, np.float32) for layer, i in neurons.indices.items()}
    with pytest.raises(InputError, match=r"too large for float16; use --dtype float32"):
        export(backbone, replace(neurons, values=values), path, "comfyui")


@pytest.mark.parametrize("to", ["comfyui", "diffusers", "shira"])
def test_neurons_of_another_model_are_refused(path: Path, to: str) -> None:
    neurons: ConceptNeurons = drawn(small_backbone("sdxl"))
    with pytest.raises(BaseModelError):
        export(small_backbone("sd"), neurons, path, to)  # type: ignore[arg-type]
    assert not path.exists()
