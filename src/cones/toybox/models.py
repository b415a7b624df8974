"""The architectures of the toybox, in the classes of diffusers and transformers."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    ResNetConfig,
    ResNetModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from cones.toybox.tokenizer import MAX_LENGTH
from cones.toybox.world import SIZE

TEXT_WIDTH = 512
VISION_WIDTHS = (48, 96, 128)  # of toybox-clip's stages, at 16, 8 and 4 cells a side
DOWNSAMPLING = 4  # pixels of a latent pixel's side


def new_text_tower(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A text tower of width `TEXT_WIDTH`: the diffusion model's, and toybox-clip's at first."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=8,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def new_clip(tokenizer: CLIPTokenizer) -> VisionTextDualEncoderModel:
    """A small CLIP with a ResNet as its vision tower.

    Convolutions with batch normalisation learn the classes on a CPU, where a vision transformer
    wants far more pictures than there is time for. The ResNet pools to `[n, width, 1, 1]`, which
    must be flattened before the projection.
    """
    vision = ResNetConfig(
        embedding_size=32,
        hidden_sizes=list(VISION_WIDTHS),
        depths=[2, 2, 1],
        layer_type="basic",
        image_size=SIZE,
        hidden_size=VISION_WIDTHS[-1],  # what VisionTextDualEncoderModel asks for
    )
    text = new_text_tower(tokenizer)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        vision, text.config, projection_dim=256
    )
    return VisionTextDualEncoderModel(config, ResNetModel(vision), text)


def new_vae(channels: int, latent_channels: int) -> AutoencoderTiny:
    """An autoencoder from `[3, 64, 64]` to `[latent_channels, 16, 16]`."""
    return AutoencoderTiny(
        encoder_block_out_channels=(channels,) * 3,
        decoder_block_out_channels=(channels,) * 3,
        num_encoder_blocks=(1, 1, 3),
        num_decoder_blocks=(3, 1, 1),
        latent_channels=latent_channels,
    )


def new_unet(channels: Sequence[int], latent_channels: int) -> UNet2DConditionModel:
    """A UNet on 16x16 latents with cross-attention at every level."""
    levels = len(channels)
    return UNet2DConditionModel(
        sample_size=SIZE // DOWNSAMPLING,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, with velocity prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
