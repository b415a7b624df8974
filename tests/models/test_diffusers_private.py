"""What is used of diffusers without its promise still is what it was."""

from typing import Any

import pytest
import torch
from diffusers import (
    FluxPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    StableDiffusion3Pipeline,
)
from torch import nn

from cones.models.diffusers_private import (
    CheckpointError,
    checkpoint_base,
    checkpoint_kind,
    flux_positions,
    is_hooked,
    pack_flux_latents,
    t5_length,
    unpack_flux_latents,
)


class Scaled:
    """As much of a FluxPipeline as packing needs."""

    vae_scale_factor = 8
    _pack_latents = staticmethod(FluxPipeline._pack_latents)
    _unpack_latents = staticmethod(FluxPipeline._unpack_latents)
    _prepare_latent_image_ids = staticmethod(FluxPipeline._prepare_latent_image_ids)


def test_flux_is_given_squares_of_two_by_two_latents() -> None:
    """Else its transformer predicts noise of shuffled pictures, silently."""
    latents = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    packed = pack_flux_latents(Scaled, latents.transpose(2, 3).contiguous().transpose(2, 3))
    assert packed.shape == (2, 6, 12)
    assert packed[0, 1].tolist() == latents[0, :, :2, 2:4].flatten().tolist()
    assert torch.equal(unpack_flux_latents(Scaled, packed, 4, 6), latents)
    places = flux_positions(Scaled, latents)
    assert places[:, 1:].tolist() == [[y, x] for y in range(2) for x in range(3)]
    assert places.shape == (6, 3) and not places[:, 0].any()


@pytest.mark.parametrize(
    ("pipeline", "length"),
    [
        (FluxPipeline, 512),
        (StableDiffusion3Pipeline, 256),
        (PixArtAlphaPipeline, 120),
        (PixArtSigmaPipeline, 300),
    ],
)
def test_t5_reads_what_a_pipeline_lets_it(pipeline: Any, length: int) -> None:
    """Else prompts are checked against another limit than the pipeline cuts them off at."""
    assert t5_length(pipeline) == length


def test_hooks_are_seen_on_a_module_and_in_it() -> None:
    """Else offloaded or cached models are searched, whose weights are not where they seem."""
    from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
    from diffusers.hooks import HookRegistry
    from diffusers.hooks import ModelHook as OwnHook

    inner = nn.Linear(2, 2)
    module = nn.Sequential(inner)
    assert not is_hooked(module)
    add_hook_to_module(inner, ModelHook())
    assert is_hooked(inner) and is_hooked(module)
    remove_hook_from_module(inner)
    assert not is_hooked(module)
    registry = HookRegistry.check_if_exists_or_initialize(inner)
    assert not is_hooked(module)
    registry.register_hook(OwnHook(), "mine")
    assert is_hooked(module)
    registry.remove_hook("mine")
    assert not is_hooked(module)


@pytest.mark.parametrize(
    ("key", "shape", "kind", "base"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", (4, 4), "v1", "stable-diffusion-v1-5"),
        (
            "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight",
            (320, 1024),
            "v2",
            "stable-diffusion-2-1",
        ),
        (
            "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias",
            (1280,),
            "xl_base",
            "stable-diffusion-xl-base-1.0",
        ),
    ],
)
def test_the_kind_of_a_checkpoint_is_told(
    key: str, shape: tuple[int, ...], kind: str, base: str
) -> None:
    """Else a single file is refused, or opened with the configuration of another model."""
    tensors = {key: torch.empty(shape, device="meta")}
    assert checkpoint_kind(tensors) == kind
    assert base in checkpoint_base(tensors)


def test_a_checkpoint_that_lacks_weights_raises_a_known_error() -> None:
    """Else the user sees a traceback in place of a line."""
    assert issubclass(CheckpointError, Exception) and CheckpointError is not Exception
