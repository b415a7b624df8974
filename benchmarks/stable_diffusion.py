"""Stable Diffusion 1.5 at its full size with random weights, and a batch to train it on.

The numbers are those of its public configuration. Random weights tell time and memory, no quality.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.timing import device
from cones.models.backbone import Backbone
from cones.models.families import Conditioning
from cones.subjects.subject import Examples

VOCABULARY, LENGTH = 49408, 77  # of CLIP's tokenizer


@dataclass(frozen=True)
class Size:
    """The size of the model.

    Attributes:
        channels: of the UNet's four levels.
        layers: of each level.
        width: of the text encoder.
        text_layers: of the text encoder.
        vae_channels: of the autoencoder's four levels.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    width: int = 768
    text_layers: int = 12
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)


FULL = Size()
TINY = Size((32, 32, 64, 64), 1, 32, 1, (32, 32, 32, 32))


@dataclass(frozen=True)
class Workload:
    """A frozen model, float32, with one batch: the subject's samples, then as many of the prior.

    Attributes:
        backbone: the model.
        pixels: pictures, `[2 * batch, 3, resolution, resolution]`.
        ids: prompts, int64 `[2 * batch, 77]`.
        states: the prompts encoded.
        noisy: latents, `[2 * batch, 4, resolution / 8, resolution / 8]`.
        timesteps: int64 `[2 * batch]`.
        batch: samples of the subject.
    """

    backbone: Backbone
    pixels: Tensor
    ids: Tensor
    states: Tensor
    noisy: Tensor
    timesteps: Tensor
    batch: int

    @classmethod
    @torch.no_grad()
    def random(cls, size: Size, resolution: int, batch: int) -> "Workload":
        """A model of a size with pictures of a resolution, a multiple of 64."""
        pipeline = random_pipeline(size).to(device())
        shape, where = (2 * batch, 3, resolution, resolution), {"device": device()}
        ids = torch.randint(VOCABULARY, (2 * batch, LENGTH), **where)
        return cls(
            Backbone(pipeline, "stable-diffusion-1.5, random"),
            torch.rand(shape, **where) * 2 - 1,
            ids,
            pipeline.text_encoder(ids)[0],
            torch.randn(2 * batch, 4, resolution // 8, resolution // 8, **where),
            torch.randint(pipeline.scheduler.config.num_train_timesteps, (2 * batch,), **where),
            batch,
        )

    @property
    def unet(self) -> Any:
        """The denoiser."""
        return self.backbone.pipeline.unet

    def examples(self) -> Examples:
        """The latents, encoded already, each with a prompt, as the search takes them."""
        deviations = torch.full_like(self.noisy, 0.1)
        pairs = tuple((row,) for row in range(len(self.noisy)))
        return Examples(self.noisy, deviations, Conditioning(self.states), pairs)

    def forward(self) -> Tensor:
        """The denoiser's output on the batch."""
        output: Tensor = self.unet(self.noisy, self.timesteps, self.states, return_dict=False)[0]
        return output


def random_pipeline(size: Size) -> StableDiffusionPipeline:
    """The pipeline with random weights, frozen; without a tokenizer."""
    text = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.width,
        intermediate_size=4 * size.width,
        num_hidden_layers=size.text_layers,
        num_attention_heads=max(1, size.width // 64),
        max_position_embeddings=LENGTH,
    )
    parts = {
        "unet": random_unet(size),
        "text_encoder": CLIPTextModel(text),
        "vae": AutoencoderKL(
            block_out_channels=size.vae_channels,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        ),
    }
    return StableDiffusionPipeline(
        **{name: part.requires_grad_(False).eval() for name, part in parts.items()},
        scheduler=DDPMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            steps_offset=1,
        ),
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def random_unet(size: Size) -> Any:
    """The denoiser alone."""
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=size.channels,
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        layers_per_block=size.layers,
        cross_attention_dim=size.width,
        attention_head_dim=8,
    )
