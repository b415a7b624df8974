"""The families with a transformer: Stable Diffusion 3, Flux, PixArt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cones.models.diffusers_private import (
    flux_positions,
    pack_flux_latents,
    t5_length,
    unpack_flux_latents,
)
from cones.models.families.conditioning import Conditioning
from cones.models.families.family import Diffusion, Flow, Run
from cones.neurons.projections import denoiser

FLUX_GUIDANCE = 3.5  # what a guidance-distilled Flux is told in the search: the pipeline's default


class StableDiffusion3(Flow):
    """Stable Diffusion 3 and 3.5: two CLIP text encoders, and T5 if it is loaded."""

    title = "Stable Diffusion 3"
    pipelines = ("StableDiffusion3Pipeline",)
    parts = (
        "transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2",
        "scheduler",
    )  # fmt: skip

    readers = ("tokenizer", "tokenizer_2")  # T5, which spells rare words, reads besides

    @property
    def further_reader(self) -> str | None:
        """T5 where it is loaded, which has a longer limit than CLIP."""
        return None if self.pipeline.text_encoder_3 is None else "T5"

    @property
    def largest(self) -> int | None:
        """As far as its positions go."""
        positions = int(self.config.pos_embed_max_size)
        return positions * int(self.config.patch_size) * int(self.pipeline.vae_scale_factor)

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """The CLIP states, side by side, followed by T5's; the two CLIP summaries."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), None, None, do_classifier_free_guidance=False
        )
        return Conditioning(states, pooled)

    def predict(self, run: Run, noisy: Tensor, timesteps: Tensor, prompts: Conditioning) -> Tensor:
        """The way from the picture to the noise."""
        return run(
            hidden_states=noisy,
            timestep=self.sigmas(timesteps) * self.pipeline.scheduler.config.num_train_timesteps,
            encoder_hidden_states=prompts.states,
            pooled_projections=prompts.pooled,
        )


class Flux(Flow):
    """Flux: T5's states, CLIP's summary, latents packed in squares of two by two."""

    title = "Flux"
    pipelines = ("FluxPipeline",)
    parts = (
        "transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2",
        "scheduler",
    )  # fmt: skip
    readers = ("tokenizer_2",)  # T5's: CLIP gives but a summary, which no such projection sees
    num_prefix_tokens = 0
    single_token_only = False
    supports_negative_prompt = False
    least_guidance = 0.0  # an input of the model

    @property
    def length(self) -> int:
        """What the pipeline lets T5 read."""
        return t5_length(self.pipeline)

    @property
    def multiple(self) -> int:
        """Two latents are packed in one, both ways."""
        return 2 * int(self.pipeline.vae_scale_factor)

    @property
    def sample_size(self) -> int:
        """The pipeline's default: the transformer has none."""
        return int(self.pipeline.default_sample_size)

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """T5's states and CLIP's summary."""
        states, pooled, _ = self.pipeline.encode_prompt(list(prompts))
        return Conditioning(states, pooled)

    def predict(self, run: Run, noisy: Tensor, timesteps: Tensor, prompts: Conditioning) -> Tensor:
        """The way from the picture to the noise."""
        guided = self.config.guidance_embeds
        output = run(
            hidden_states=pack_flux_latents(self.pipeline, noisy),
            timestep=self.sigmas(timesteps).to(noisy),
            guidance=noisy.new_full(timesteps.shape, FLUX_GUIDANCE) if guided else None,
            pooled_projections=prompts.pooled,
            encoder_hidden_states=prompts.states,
            txt_ids=noisy.new_zeros(prompts.states.shape[1], 3),
            img_ids=flux_positions(self.pipeline, noisy),
        )
        return unpack_flux_latents(self.pipeline, output, *noisy.shape[2:])

    def settings(self, count: int, guidance: float, negative_prompt: str) -> dict[str, Any]:
        """Guidance is an input of the distilled model, and none of the other's."""
        return {"guidance_scale": guidance}


class PixArt(Diffusion):
    """PixArt alpha and sigma: T5's states with a mask; the variance that it learnt is dropped."""

    title = "PixArt"
    pipelines = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")
    parts = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
    num_prefix_tokens = 0
    single_token_only = False
    learned_variance = True

    @property
    def length(self) -> int:
        """What the pipeline lets T5 read."""
        return t5_length(self.pipeline)

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """T5's states, and which of them are a prompt's."""
        states, mask, _, _ = self.pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False
        )
        return Conditioning(states, mask=mask)

    def predict(self, run: Run, noisy: Tensor, timesteps: Tensor, prompts: Conditioning) -> Tensor:
        """The noise, of a square picture."""
        added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if denoiser(self.pipeline).use_additional_conditions:
            sizes = torch.tensor(noisy.shape[2:]) * self.pipeline.vae_scale_factor
            added["resolution"] = sizes.to(noisy).expand(len(noisy), -1)
            added["aspect_ratio"] = noisy.new_full((len(noisy), 1), sizes[0] / sizes[1])
        output = run(
            noisy,
            encoder_hidden_states=prompts.states,
            encoder_attention_mask=prompts.mask,
            timestep=timesteps,
            added_cond_kwargs=added,
        )
        return output[:, : noisy.shape[1]]

    def settings(self, count: int, guidance: float, negative_prompt: str) -> dict[str, Any]:
        """Prompts as they are encoded in the search, and the resolution as it is."""
        plain = {"clean_caption": False, "use_resolution_binning": False}
        return super().settings(count, guidance, negative_prompt) | plain
