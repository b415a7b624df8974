"""The exported file in ComfyUI: its own loader and patcher, from the copy in COMFYUI_DIR."""

from pathlib import Path
from typing import Any

import pytest
import torch
from clients import comfyui, comfyui_patcher, weights_of
from samples import KINDS, drawn, shut_weights, small_backbone, weights

from cones.export import export
from cones.export.kohya import Names, tensor_name

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def comfy() -> Any:
    return comfyui()


def patched(
    comfy: Any, patcher: Any, path: Path, caplog: pytest.LogCaptureFixture, strength: float = 1.0
) -> Any:
    """The patched copy that ComfyUI's LoRA loader makes, which finds a place for each tensor."""
    lora, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    made, _ = comfy.sd.load_lora_for_models(patcher, None, lora, strength, 0.0, metadata)
    assert not [each for each in caplog.records if each.name == "root"]
    made.patch_model()
    return made


@pytest.mark.parametrize("names", ["diffusers", "original"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_a_shutting_and_the_base_stays(
    comfy: Any, kind: str, names: Names, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = small_backbone(kind)
    subjects = [drawn(backbone, "sks"), drawn(backbone, "ohwx")]
    export(backbone, subjects, tmp_path / "lora.safetensors", "comfyui", names=names)
    patcher, known = comfyui_patcher(comfy, backbone.denoiser)
    made = patched(comfy, patcher, tmp_path / "lora.safetensors", caplog)
    ours, theirs = shut_weights(backbone, subjects[0] | subjects[1]), weights_of(made, known)
    assert len(theirs) > 50
    assert all(torch.equal(theirs[name], ours[name].half()) for name in theirs)
    made.unpatch_model()
    base = weights(backbone)
    assert all(
        torch.equal(each, base[name].half()) for name, each in weights_of(made, known).items()
    )


def test_its_strength_shuts_in_part(
    comfy: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = small_backbone("sd")
    neurons = drawn(backbone)
    export(backbone, neurons, tmp_path / "lora.safetensors", "comfyui")
    patcher, known = comfyui_patcher(comfy, backbone.denoiser)
    theirs = weights_of(patched(comfy, patcher, tmp_path / "lora.safetensors", caplog, 0.5), known)
    ours = shut_weights(backbone, neurons, 0.5)
    assert all(torch.equal(theirs[name], ours[name].half()) for name in theirs)


def test_in_float32_it_cancels_float32(
    comfy: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = small_backbone("sd")
    for weight in backbone.denoiser.parameters():
        weight.data *= 1 + 2**-20
    neurons, path = drawn(backbone), tmp_path / "lora.safetensors"
    export(backbone, neurons, path, "comfyui", dtype=torch.float32)
    patcher, known = comfyui_patcher(comfy, backbone.denoiser, torch.float32)
    theirs = weights_of(patched(comfy, patcher, path, caplog), known)
    assert all(torch.equal(each, shut_weights(backbone, neurons)[n]) for n, each in theirs.items())


FULL = {
    "sd1": {"cross_attention_dim": 768},
    "sd2": {
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


@pytest.mark.parametrize("kind", FULL)
def test_it_knows_every_projection_of_a_published_model_by_both_names(
    comfy: Any, kind: str
) -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**FULL[kind])
        config = comfy.model_detection.model_config_from_diffusers_unet(unet.state_dict())
        model = config.get_model({}, "", torch.device("meta"))
    places, state = comfy.lora.model_lora_keys_unet(model, {}), model.state_dict()
    layers = [name for name, _ in unet.named_modules() if name.endswith((".to_k", ".to_v"))]
    assert len(layers) == {"sd1": 64, "sd2": 64, "sdxl": 280}[kind]
    for layer in layers:
        here = {places[tensor_name(layer, each, 2)] for each in ("diffusers", "original")}
        assert len(here) == 1
        assert state[here.pop()].shape == unet.get_parameter(f"{layer}.weight").shape
