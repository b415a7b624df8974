"""The families with a UNet: Stable Diffusion 1 and 2, and SDXL."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from cones.errors import InputError
from cones.models.families.conditioning import Conditioning
from cones.models.families.family import Diffusion, Run


class StableDiffusion(Diffusion):
    """Stable Diffusion 1 and 2: one CLIP text encoder."""

    title = "Stable Diffusion 1 or 2"
    pipelines = ("StableDiffusionPipeline",)
    parts: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    addition: ClassVar[str | None] = None  # what the UNet takes besides latents and states

    def check(self, name: str) -> None:
        """Refuses UNets that take anything else too."""
        super().check(name)
        if self.config.addition_embed_type != self.addition:
            raise InputError(
                f"model {name!r}: expected a UNet of {self.title} (addition_embed_type "
                f"{self.addition!r}), found {self.config.addition_embed_type!r}; load it with the "
                "pipeline of its kind"
            )
        for setting in ("encoder_hid_dim_type", "class_embed_type", "time_cond_proj_dim"):
            if (found := getattr(self.config, setting, None)) is not None:
                raise InputError(
                    f"model {name!r}: expected a UNet that takes latents, times and text, found "
                    f"{setting} {found!r} (an IP-Adapter, an upscaler, or distilled from guidance)"
                )

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """The text encoder's states."""
        device = self.pipeline.text_encoder.device
        return Conditioning(self.pipeline.encode_prompt(list(prompts), device, 1, False)[0])

    def predict(self, run: Run, noisy: Tensor, timesteps: Tensor, prompts: Conditioning) -> Tensor:
        """Noise or velocity."""
        return run(noisy, timesteps, prompts.states)


class StableDiffusionXL(StableDiffusion):
    """SDXL: the states of two text encoders, the second one's summary, and the picture's size."""

    title = "SDXL"
    pipelines = ("StableDiffusionXLPipeline",)
    parts = (
        "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler",
    )  # fmt: skip
    readers = ("tokenizer", "tokenizer_2")
    addition = "text_time"

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Of an empty prompt zeros, where the pipeline guides away from zeros."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        if self.pipeline.config.force_zeros_for_empty_prompt:
            empty = torch.tensor([not prompt for prompt in prompts], device=states.device)
            states = states.masked_fill(empty.view(-1, 1, 1), 0)
            pooled = pooled.masked_fill(empty.view(-1, 1), 0)
        return Conditioning(states, pooled)

    def latent_scale(self) -> tuple[Tensor | float, Tensor | float]:
        """By each channel's mean and standard deviation, where the autoencoder has them."""
        config = self.pipeline.vae.config
        mean, deviation = (getattr(config, f"latents_{name}", None) for name in ("mean", "std"))
        if mean is None or deviation is None:
            return super().latent_scale()
        mean, deviation = (torch.tensor(each).view(1, -1, 1, 1) for each in (mean, deviation))
        return mean, config.scaling_factor / deviation

    def predict(self, run: Run, noisy: Tensor, timesteps: Tensor, prompts: Conditioning) -> Tensor:
        """Noise or velocity of a picture that is neither scaled nor cropped."""
        height, width = (size * self.pipeline.vae_scale_factor for size in noisy.shape[2:])
        ids = torch.tensor([height, width, 0, 0, height, width]).to(noisy)
        added = {"text_embeds": prompts.pooled, "time_ids": ids.expand(len(noisy), -1)}
        return run(noisy, timesteps, encoder_hidden_states=prompts.states, added_cond_kwargs=added)

    def settings(self, count: int, guidance: float, negative_prompt: str) -> dict[str, Any]:
        """Without a negative prompt the pipeline guides away from what it was trained to."""
        settings = super().settings(count, guidance, negative_prompt)
        return settings if negative_prompt else {"guidance_scale": settings["guidance_scale"]}
