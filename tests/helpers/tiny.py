"""Random models of the served kinds, small enough for a test; the toybox is for what must be real.

diffusers is imported late, so that a test file that needs no model starts fast.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn


def tiny_unet(seed: int = 0, cross_attention_dim: int = 32) -> nn.Module:
    """A UNet2DConditionModel with two cross-attention levels; samples [n, 4, 16, 16]."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=8,
        norm_num_groups=8,
    ).eval()


def tiny_sd3() -> nn.Module:
    """An SD3Transformer2DModel whose first block has a second self-attention, as in SD 3.5."""
    from diffusers import SD3Transformer2DModel

    torch.manual_seed(0)
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pooled_projection_dim=64,
        out_channels=4,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    ).eval()


def tiny_flux() -> nn.Module:
    """A FluxTransformer2DModel of one double and one single block, distilled from guidance."""
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ).eval()


def tiny_pixart() -> nn.Module:
    """A PixArtTransformer2DModel of two blocks."""
    from diffusers import PixArtTransformer2DModel

    torch.manual_seed(0)
    return PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        use_additional_conditions=False,
    ).eval()


def tiny_clip(
    width: int, layers: int = 1, projection: int | None = None, tokenizer: Any = None
) -> Any:
    """A CLIPTextModel for the toybox's tokenizer, or another; with a projection of some width.

    Its seed is the caller's.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = tokenizer or toybox_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=projection or 512,
    )
    kind = CLIPTextModel if projection is None else CLIPTextModelWithProjection
    return kind(config).eval()


def tiny_kl(shift: float | None = None) -> Any:
    """An AutoencoderKL of 4 channels that halves the side; its seed is the caller's."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=16,
        shift_factor=shift,
    ).eval()


def tiny_pipeline(seed: int = 0, prediction: str = "v_prediction", kl: bool = False) -> Any:
    """A StableDiffusionPipeline with the toybox's tokenizer; pictures of 16 x 16 pixels.

    Args:
        seed: of its weights.
        prediction: what its scheduler says the UNet predicts.
        kl: an AutoencoderKL, whose latents have a spread, in place of an AutoencoderTiny.
    """
    from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline

    torch.manual_seed(seed)
    vae = (
        tiny_kl()
        if kl
        else AutoencoderTiny(
            encoder_block_out_channels=(16, 16),
            decoder_block_out_channels=(16, 16),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            latent_channels=4,
        )
    )
    unet = tiny_unet(seed)
    unet.register_to_config(sample_size=8)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=tiny_clip(width=32),
        tokenizer=toybox_tokenizer(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def tiny_folder() -> Path:
    """The folder of a saved `tiny_pipeline`, made once and removed at the end of the run."""
    folder = Path(_temporary().name) / "tiny"
    tiny_pipeline().save_pretrained(folder)
    return folder


@cache
def _temporary() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def toybox_tokenizer() -> Any:
    """The toybox's CLIPTokenizer."""
    from cones.toybox.tokenizer import build_tokenizer

    return build_tokenizer(Path(_temporary().name) / "tokenizer")
