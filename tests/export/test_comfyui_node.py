"""The custom node in ComfyUI: with its own ModelPatcher, from the copy in COMFYUI_DIR."""

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clients import comfyui, comfyui_patcher, weights_of
from samples import KINDS, drawn, shut_weights, small_backbone, weights

from cones.errors import BaseModelError
from cones.neurons.concept_neurons import ConceptNeurons

pytestmark = pytest.mark.interop
NODE = Path(__file__).parents[2] / "integrations" / "comfyui"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The node's package, as ComfyUI imports it; its files are in `tmp_path / "cones"`."""
    comfyui()
    import folder_paths

    for name in ("cones", "loras"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([], set()))
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    (tmp_path / "cones").mkdir()
    spec = importlib.util.spec_from_file_location("cones_node", NODE / "__init__.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cones_node", module)
    spec.loader.exec_module(module)
    yield module
    for name in [each for each in sys.modules if each.startswith("cones_node.")]:
        del sys.modules[name]


def tuned(neurons: ConceptNeurons) -> ConceptNeurons:
    values = {k: np.full(len(i), 0.25, np.float32) for k, i in neurons.indices.items()}
    return replace(neurons, values=values)


@pytest.mark.parametrize("strength", [-1.0, 1.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_list_of_files_is_shut_in_a_copy_and_the_base_stays(
    node: Any, kind: str, strength: float, tmp_path: Path
) -> None:
    backbone = small_backbone(kind)
    subjects = [drawn(backbone, "sks", "text"), drawn(backbone, "ohwx")]
    for each in subjects:
        each.save(tmp_path / "cones" / f"{each.subjects[0].token}.cones.safetensors")
    patcher, known = comfyui_patcher(comfyui(), backbone.denoiser)
    choose, shut = (each() for each in node.NODE_CLASS_MAPPINGS.values())
    offered = ["ohwx.cones.safetensors", "sks.cones.safetensors"]
    assert choose.INPUT_TYPES()["required"]["file"] == (offered,)
    (files,) = choose.choose(*choose.choose("sks.cones.safetensors"))
    (files,) = choose.choose("ohwx.cones.safetensors", files)
    (made,) = shut.shut(patcher, files, strength)
    assert made is not patcher and not patcher.patches
    made.patch_model()
    union = subjects[0] | subjects[1]
    ours = shut_weights(backbone, union, None if strength < 0 else strength)
    theirs = weights_of(made, known)
    assert all(torch.equal(theirs[name], ours[name].half()) for name in theirs)
    made.unpatch_model()
    base, theirs = weights(backbone), weights_of(patcher, known)
    assert all(torch.equal(theirs[name], base[name].half()) for name in theirs)


def test_two_nodes_in_a_row_shut_a_shared_neuron_once(node: Any, tmp_path: Path) -> None:
    backbone = small_backbone("sd")
    neurons = tuned(drawn(backbone))
    neurons.save(tmp_path / "cones" / "sks.cones.safetensors")
    patcher, known = comfyui_patcher(comfyui(), backbone.denoiser)
    shut = node.NODE_CLASS_MAPPINGS["ConesShutNeurons"]().shut
    (once,) = shut(patcher, "sks.cones.safetensors", 1.0)
    (twice,) = shut(once, "sks.cones.safetensors\n\n", 1.0)
    twice.patch_model()
    ours, theirs = shut_weights(backbone, neurons), weights_of(twice, known)
    assert all(torch.equal(theirs[name], ours[name].half()) for name in theirs)


def test_a_model_in_little_memory_is_patched_layer_by_layer(node: Any, tmp_path: Path) -> None:
    comfy, backbone = comfyui(), small_backbone("sd")
    for neurons in (drawn(backbone), tuned(drawn(backbone))):
        neurons.save(tmp_path / "cones" / "sks.cones.safetensors")
        patcher, known = comfyui_patcher(comfy, backbone.denoiser)
        shut = node.NODE_CLASS_MAPPINGS["ConesShutNeurons"]().shut
        (made,) = shut(patcher, "sks.cones.safetensors", 1.0)
        ours = shut_weights(backbone, neurons)
        for layer in neurons.indices:
            key = f"diffusion_model.{known[f'{layer}.weight']}"
            patch = comfy.model_patcher.LowVramPatch(key, made.patches)
            patch.prepare(torch.empty(patch.memory_required(), dtype=torch.uint8), None)
            found = patch(patcher.model.state_dict()[key].clone())
            assert torch.equal(found, ours[f"{layer}.weight"].half())


def test_a_file_that_is_not_there_is_refused(node: Any) -> None:
    with pytest.raises(ValueError, match=r"^no.such: is no neuron file in models/cones"):
        node.NODE_CLASS_MAPPINGS["ConesShutNeurons"]().shut(None, "no.such", 1.0)


def test_neurons_of_another_model_are_refused(node: Any, tmp_path: Path) -> None:
    drawn(small_backbone("sdxl")).save(tmp_path / "cones" / "sks.cones.safetensors")
    patcher, _ = comfyui_patcher(comfyui(), small_backbone("sd").denoiser)
    with pytest.raises(BaseModelError, match=r"expected the shape .* found .*; load that base"):
        node.NODE_CLASS_MAPPINGS["ConesShutNeurons"]().shut(patcher, "sks.cones.safetensors", 1.0)
