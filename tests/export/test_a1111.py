"""The exported file in A1111: its own LoRA extension, from the copy in A1111_DIR.

Its model has the module names of the original implementation, so ComfyUI's stands for it.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from clients import comfyui, comfyui_patcher, folder, webui_extension, weights_of
from samples import KINDS, drawn, shut_weights, small_backbone

from cones.export import export
from cones.export.kohya import Names

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("names", ["diffusers", "original"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_a_shutting(kind: str, names: Names, tmp_path: Path) -> None:
    root, backbone = folder("A1111_DIR"), small_backbone(kind)
    subjects, path = (
        [drawn(backbone, "sks"), drawn(backbone, "ohwx")],
        tmp_path / "lora.safetensors",
    )
    export(backbone, subjects, path, "a1111", names=names)
    patcher, known = comfyui_patcher(comfyui(), backbone.denoiser)
    with webui_extension(root, "Lora", tmp_path) as networks, torch.no_grad():
        found = apply(networks, patcher.model, path)
    assert found.network_on_disk.sd_version.name == {"sd": "SD1", "sdxl": "SDXL"}[kind]
    ours, theirs = shut_weights(backbone, subjects[0] | subjects[1]), weights_of(patcher, known)
    assert all(torch.equal(theirs[name], ours[name].half()) for name in theirs)
    assert len(found.modules) == sum(len(index) > 0 for index in subjects[0].indices.values())


def apply(networks: Any, model: torch.nn.Module, path: Path) -> Any:
    """Loads the file and applies it to every linear layer of a model, as A1111 does on drawing."""
    import network

    networks.shared.sd_model = SimpleNamespace(
        is_sdxl=False, cond_stage_model=SimpleNamespace(wrapped=torch.nn.Module()), model=model
    )
    networks.assign_network_names_to_compvis_modules(networks.shared.sd_model)
    found = networks.load_network("lora", network.NetworkOnDisk("lora", str(path)))
    networks.loaded_networks.append(found)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            networks.network_apply_weights(layer)
    return found
