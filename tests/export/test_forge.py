"""The exported file in Forge: its own loader and patcher, from the copy in FORGE_DIR."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from clients import folder, forge, unet_config, webui_extension
from samples import KINDS, drawn, shut_weights, small_backbone, weights

from cones.export import export
from cones.export.kohya import Names

pytestmark = pytest.mark.interop


def forge_patcher(backend: Any, unet: Any) -> tuple[Any, dict[str, str]]:
    """Forge's model with a UNet's weights, and diffusers' names of the weights -> its own."""
    from packages_3rdparty.comfyui_lora_collection.utils import unet_to_diffusers

    config = unet_config(unet.config)
    for unknown in ("image_size", "use_temporal_attention", "legacy", "dtype"):
        del config[unknown]
    model = torch.nn.Module()
    model.config = SimpleNamespace(huggingface_repo="runwayml/stable-diffusion-v1-5")
    model.diffusion_model = backend.nn.unet.IntegratedUNet2DConditionModel.from_config(config)
    names = unet_to_diffusers(model.diffusion_model.config)
    state = {names[name]: value for name, value in unet.state_dict().items() if name in names}
    model.diffusion_model.load_state_dict(state, strict=False)
    model.half()
    cpu = torch.device("cpu")
    return backend.patcher.base.ModelPatcher(model, cpu, cpu), names


def weights_of(patcher: Any, names: dict[str, str]) -> dict[str, torch.Tensor]:
    state = patcher.model.diffusion_model.state_dict()
    return {name: state[own].clone() for name, own in names.items() if own in state}


@pytest.mark.parametrize("names", ["diffusers", "original"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_a_shutting_and_the_base_stays(
    kind: str, names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend, backbone = forge(), small_backbone(kind)
    subjects, path = (
        [drawn(backbone, "sks"), drawn(backbone, "ohwx")],
        tmp_path / "lora.safetensors",
    )
    export(backbone, subjects, path, "forge", names=names)
    patcher, known = forge_patcher(backend, backbone.denoiser)
    with webui_extension(folder("FORGE_DIR"), "sd_forge_lora", tmp_path) as networks:
        lora = networks.load_lora_state_dict(str(path))
        made, _ = networks.load_lora_for_models(patcher, None, lora, 1.0, 0.0, filename=str(path))
    assert "unmatched" not in capsys.readouterr().out
    made.refresh_loras()
    ours, theirs = shut_weights(backbone, subjects[0] | subjects[1]), weights_of(made, known)
    assert len(theirs) > 50
    assert all(torch.equal(theirs[name], ours[name].half()) for name in theirs)
    patcher.refresh_loras()
    base = weights(backbone)
    assert all(torch.equal(each, base[n].half()) for n, each in weights_of(patcher, known).items())
