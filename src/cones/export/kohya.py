"""One LoRA file as kohya's scripts name its tensors: read by ComfyUI, Forge and A1111.

For each layer with neurons there is a tensor `lora_unet_<layer>.diff` of the weight's shape: zero
but at the neurons. The clients add it to the weight, times the strength that their user chooses. In
float16 it is rounded as a float16 weight is, so at strength 1 the sum is exactly 0. (`.set_weight`,
which would need no cancelling, ignores the strength.)
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from cones.checks import check_choice
from cones.errors import InputError
from cones.export.differences import differences
from cones.files.paths import local_path
from cones.files.writing import atomic_write, safetensors_parts
from cones.models.backbone import Backbone
from cones.models.checkpoints import Header
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.container import Array

Names: TypeAlias = Literal["diffusers", "original"]
FORMAT = "cones-export"
DIFF = ".diff"
TYPES = {torch.float16: np.float16, torch.float32: np.float32}

_BLOCK = re.compile(r"(down_blocks|mid_block|up_blocks)(?:\.(\d+))?\.attentions\.(\d+)\.(.+)")
# What the clients sort LoRA files by: the architecture and kohya's word for the base model.
_XL = ("stable-diffusion-xl-v1-base", "sdxl_base_v1-0")
_V2 = ("stable-diffusion-v2", "sd_v2")
_V1 = ("stable-diffusion-v1", "sd_v1")


def save(
    backbone: Backbone,
    neurons: ConceptNeurons,
    path: str | os.PathLike[str],
    strength: float | None = None,
    dtype: torch.dtype = torch.float16,
    names: Names | None = None,
) -> None:
    """Writes the file, all or nothing; the same neurons and weights give the same bytes.

    Args:
        backbone: a Stable Diffusion 1 or 2, or an SDXL.
        neurons: shut or tuned, of the text's projections or of all.
        path: of the file; replaced if it is an export of these subjects.
        strength: what the client's strength 1 stands for; None for what the neurons recommend.
        dtype: of the differences, float16 or float32: float16 cancels float16 weights exactly,
            float32 cancels those of bfloat16 and float32 too.
        names: of the layers: those of diffusers or of the original implementation. The clients
            know both. None for what kohya's scripts write: the original's for SDXL only.

    Raises:
        InputError: the model is of another kind, a difference is too large for float16, or `path`
            is of another file.
        BaseModelError: the neurons are of a model of another layout.
    """
    config = _unet_config(backbone)
    check_choice("dtype", dtype, tuple(TYPES))
    if names is None:
        names = "original" if _kind(config) == _XL else "diffusers"
    metadata, per_block = _metadata(neurons, config), config.layers_per_block
    path = local_path(path)
    if path.exists() and not _is_older_self(path, metadata):
        raise InputError(f"{path}: is there, and no export of these subjects; name another --out")
    tensors: dict[str, Array] = {}
    for layer, values in differences(backbone, neurons, strength).items():
        full = np.zeros(neurons.shapes[layer], TYPES[dtype])
        with np.errstate(over="ignore"):
            full.flat[neurons.indices[layer]] = values
        if not np.isfinite(full).all():
            raise InputError(f"{layer}: a difference is too large for float16; use --dtype float32")
        tensors[tensor_name(layer, names, per_block) + DIFF] = full
    atomic_write(path, *safetensors_parts(tensors, metadata))


def tensor_name(layer: str, names: Names, layers_per_block: int) -> str:
    """What kohya's scripts call a layer of a UNet in diffusers: `lora_unet_...`, without ending.

    Raises:
        InputError: the clients have no name for it.
    """
    match = _BLOCK.fullmatch(layer)
    if match is None or not isinstance(layers_per_block, int):
        raise InputError(
            f"{layer}: has no name in ComfyUI, Forge and A1111; use --to diffusers or --to shira"
        )
    side, block, attention, rest = match.groups()
    if names == "original":
        at = int(block or 0) * (layers_per_block + 1) + int(attention)
        layer = {
            "down_blocks": f"input_blocks.{1 + at}.1.{rest}",
            "mid_block": f"middle_block.1.{rest}",
            "up_blocks": f"output_blocks.{at}.1.{rest}",
        }[side]
    return "lora_unet_" + layer.replace(".", "_")


def is_unet(backbone: Backbone) -> bool:
    """Whether the clients keep the model's projections as diffusers does, one tensor for each."""
    return type(backbone.denoiser).__name__ == "UNet2DConditionModel"


def _unet_config(backbone: Backbone) -> Any:
    network: Any = backbone.denoiser
    if not is_unet(backbone):
        raise InputError(
            f"model {backbone.name!r}: expected a UNet (Stable Diffusion 1, 2 or XL), found a "
            f"{type(network).__name__}, whose projections these clients keep in joint tensors; "
            "use --to diffusers or --to shira"
        )
    return network.config


def _kind(config: Any) -> tuple[str, str]:
    if config.addition_embed_type == "text_time":
        return _XL
    return _V2 if config.cross_attention_dim == 1024 else _V1


def _is_older_self(path: Path, metadata: Mapping[str, str]) -> bool:
    try:
        return Header.of(path).metadata == metadata
    except InputError:
        return False


def _metadata(neurons: ConceptNeurons, config: Any) -> Mapping[str, str]:
    architecture, base = kind = _kind(config)
    phrases = [subject.phrase for subject in neurons.subjects]
    tags = {phrase: {phrase: 1} for phrase in phrases}
    return {
        "format": FORMAT,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": "cones",
        "modelspec.title": f"Concept neurons of {' and '.join(phrases) or 'no named subject'}",
        "modelspec.trigger_phrase": ", ".join(phrases),
        "ss_base_model_version": base,
        "ss_v2": str(kind == _V2),
        "ss_tag_frequency": json.dumps(tags, sort_keys=True),
    }
