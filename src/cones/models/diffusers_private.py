"""What is used of diffusers though its documentation does not promise it, in one place.

`tests/models/test_diffusers_private.py` says of each what breaks if a later diffusers changes it.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from diffusers.loaders import single_file_utils
from torch import Tensor, nn

CheckpointError: type[Exception] = single_file_utils.SingleFileComponentError


def pack_flux_latents(pipeline: Any, latents: Tensor) -> Tensor:
    """Latents as Flux's transformer reads them: two by two of them are one position.

    Args:
        pipeline: a FluxPipeline.
        latents: `[n, channels, height, width]`, both sides even.

    Returns:
        `[n, height * width / 4, channels * 4]`.
    """
    packed: Tensor = pipeline._pack_latents(latents.contiguous(), *latents.shape)
    return packed


def unpack_flux_latents(pipeline: Any, packed: Tensor, height: int, width: int) -> Tensor:
    """The latents that `pack_flux_latents` has packed.

    Args:
        pipeline: a FluxPipeline.
        packed: `[n, height * width / 4, channels * 4]`.
        height: of the latents.
        width: of the latents.

    Returns:
        `[n, channels, height, width]`.
    """
    scale = pipeline.vae_scale_factor
    latents: Tensor = pipeline._unpack_latents(packed, height * scale, width * scale, scale)
    return latents


def flux_positions(pipeline: Any, latents: Tensor) -> Tensor:
    """Where each packed position of latents `[n, channels, height, width]` is, `[positions, 3]`."""
    count, _, height, width = latents.shape
    positions: Tensor = pipeline._prepare_latent_image_ids(
        count, height // 2, width // 2, latents.device, latents.dtype
    )
    return positions


def t5_length(pipeline: Any) -> int:
    """How many tokens a pipeline lets its T5 read: the tokenizer itself knows no limit."""
    return int(inspect.signature(pipeline.encode_prompt).parameters["max_sequence_length"].default)


def is_hooked(module: nn.Module) -> bool:
    """Whether accelerate's or diffusers' hooks offload, cast or cache a module, or one in it."""
    return any(
        hasattr(each, "_hf_hook") or getattr(getattr(each, "_diffusers_hook", None), "hooks", None)
        for each in module.modules()
    )


def checkpoint_kind(tensors: Mapping[str, Tensor]) -> str:
    """What diffusers takes the tensors of a single file for, by name and shape: "xl_base"."""
    return str(single_file_utils.infer_diffusers_model_type(tensors))


def checkpoint_base(tensors: Mapping[str, Tensor]) -> str:
    """The hub name of the model whose configuration a single file of these tensors has."""
    return str(single_file_utils.fetch_diffusers_config(tensors)["pretrained_model_name_or_path"])
