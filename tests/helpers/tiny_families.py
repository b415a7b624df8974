"""A random pipeline of each family besides Stable Diffusion 1 and 2; pictures of 16 x 16 pixels."""

import string
from collections.abc import Callable
from typing import Any

import torch
from tiny import tiny_clip, tiny_flux, tiny_kl, tiny_pixart, tiny_sd3, toybox_tokenizer

WORDS = "a photo picture image of the sks ohwx hta robot mug dog in on snow beach at night"


def tiny_t5() -> Any:
    """A T5EncoderModel of width 32."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(t5_tokenizer()), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4
    )
    return T5EncoderModel(config).eval()


def t5_tokenizer() -> Any:
    """A tokenizer of a few words that spells others in letters and ends prompts as T5's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [f"\u2581{word}" for word in WORDS.split()]
    pieces = ["<pad>", "</s>", "<unk>", *words, "\u2581", *string.ascii_lowercase]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], 2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def tiny_sdxl_pipeline() -> Any:
    """A StableDiffusionXLPipeline with the scheduler of the published one."""
    from diffusers import (
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    )
    return StableDiffusionXLPipeline(
        vae=tiny_kl(),
        text_encoder=tiny_clip(width=16, layers=2),
        text_encoder_2=tiny_clip(width=16, layers=2, projection=32),
        tokenizer=toybox_tokenizer(),
        tokenizer_2=toybox_tokenizer(),
        unet=unet.eval(),
        scheduler=scheduler,
        add_watermarker=False,
    )


def tiny_sd3_pipeline() -> Any:
    """A StableDiffusion3Pipeline with all three text encoders."""
    from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

    torch.manual_seed(0)
    return StableDiffusion3Pipeline(
        transformer=tiny_sd3(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_kl(shift=0.06),
        text_encoder=tiny_clip(width=16, layers=2, projection=32),
        tokenizer=toybox_tokenizer(),
        text_encoder_2=tiny_clip(width=16, layers=2, projection=32),
        tokenizer_2=toybox_tokenizer(),
        text_encoder_3=tiny_t5(),
        tokenizer_3=t5_tokenizer(),
    )


def tiny_flux_pipeline() -> Any:
    """A FluxPipeline whose default pictures are small."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    torch.manual_seed(0)
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=tiny_kl(shift=0.06),
        text_encoder=tiny_clip(width=32),
        tokenizer=toybox_tokenizer(),
        text_encoder_2=tiny_t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=tiny_flux(),
    )
    pipeline.default_sample_size = 8
    return pipeline


def tiny_pixart_pipeline() -> Any:
    """A PixArtSigmaPipeline; its transformer says the variance too."""
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline

    torch.manual_seed(0)
    return PixArtSigmaPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=tiny_t5(),
        vae=tiny_kl(),
        transformer=tiny_pixart(),
        scheduler=DPMSolverMultistepScheduler(),
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "sdxl": tiny_sdxl_pipeline,
    "sd3": tiny_sd3_pipeline,
    "flux": tiny_flux_pipeline,
    "pixart": tiny_pixart_pipeline,
}
