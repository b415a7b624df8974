"""What the pipelines of one family do in their own way; `cones.models.backbone` does the rest.

Two kinds of noise: `Diffusion` mixes by the schedule's cumulative alphas and predicts the noise or
the velocity; `Flow` (flow matching) goes straight from the picture to the noise.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from cones.errors import InputError
from cones.models.families.conditioning import Conditioning
from cones.models.families.solvers import DIFFUSION, DISTILLED, FLOW, scheduler_of
from cones.neurons.projections import denoiser

Run = Callable[..., Tensor]  # the denoiser: its inputs -> its output


class Family(ABC):
    """A pipeline, and how its kind reads prompts, adds noise, predicts and draws.

    Attributes:
        title: what people call the family.
        pipelines: the names of its diffusers pipelines.
        parts: the components that a pipeline must have.
        readers: the tokenizers of the text whose projections are in question, as components.
        num_prefix_tokens: how many tokens these put before a prompt's own.
        single_token_only: whether a subject's word must be one token. T5 has no rare ones: it
            spells them in pieces.
        supports_negative_prompt: whether a negative prompt has an effect.
        learned_variance: whether the denoiser may say the variance too, in as many channels again.
        schedulers: what it can be drawn with, by diffusers' names; the first is the default.
        least_guidance: the least weight of guidance that means something.
    """

    title: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...]]
    parts: ClassVar[tuple[str, ...]]
    readers: ClassVar[tuple[str, ...]] = ("tokenizer",)
    num_prefix_tokens: ClassVar[int] = 1
    single_token_only: ClassVar[bool] = True
    supports_negative_prompt: ClassVar[bool] = True
    learned_variance: ClassVar[bool] = False
    schedulers: ClassVar[tuple[str, ...]]
    least_guidance: ClassVar[float] = 1.0  # of classifier-free guidance: none

    def __init__(self, pipeline: Any) -> None:
        """For a pipeline of the family, which stays as it is."""
        self.pipeline = pipeline
        self.config: Any = denoiser(pipeline).config

    @property
    def tokenizers(self) -> list[PreTrainedTokenizerBase]:
        """The tokenizers of the text whose projections are in question."""
        return [getattr(self.pipeline, reader) for reader in self.readers]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The first of them."""
        return self.tokenizers[0]

    @property
    def length(self) -> int:
        """How many tokens of a prompt all of them read, start and end included."""
        return min(int(each.model_max_length) for each in self.tokenizers)

    @property
    def max_prompt_tokens(self) -> int:
        """How many tokens of a prompt's own are read: all but the start and the end."""
        return self.length - self.num_prefix_tokens - 1

    @property
    def further_reader(self) -> str | None:
        """Who reads a prompt beyond `max_prompt_tokens`, by name; None if nobody does."""
        return None

    @property
    def sample_size(self) -> int:
        """Height and width of the latents that it was made for."""
        return int(self.config.sample_size)

    @property
    def multiple(self) -> int:
        """What the height and the width of a picture, in pixels, are multiples of."""
        patch = int(getattr(self.config, "patch_size", None) or 1)
        return max(8, int(self.pipeline.vae_scale_factor) * patch)  # 8: diffusers insists

    @property
    def largest(self) -> int | None:
        """The greatest height and width of a picture, in pixels; None if there is no limit."""
        return None

    def check(self, name: str) -> None:
        """Refuses a pipeline of this family that cannot be served.

        Raises:
            InputError: a component is missing, or the denoiser or scheduler is of another kind.
        """
        for part in self.parts:
            if getattr(self.pipeline, part, None) is None:
                raise InputError(
                    f"model {name!r}: is a {type(self.pipeline).__name__} without a {part}; load "
                    f"it whole ({', '.join(self.parts)})"
                )
        for part, each in self.pipeline.components.items():
            if isinstance(each, PreTrainedTokenizerBase) and not _knows_words(each):
                raise InputError(
                    f"model {name!r}: its {part} knows no words; download the model again, whole"
                )
        if not isinstance(getattr(self.config, "sample_size", 0), int):
            raise InputError(
                f"model {name!r}: expected one number as its denoiser's sample_size, found "
                f"{self.config.sample_size}; set it in the denoiser's config.json"
            )
        inputs = self.config.in_channels
        outputs = self.config.out_channels or inputs
        if outputs != inputs and not (self.learned_variance and outputs == 2 * inputs):
            raise InputError(
                f"model {name!r}: its denoiser takes {inputs} channels and gives {outputs} "
                f"(inpainting or control?); expected a plain text-to-image {self.title}"
            )

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """What the denoiser is told of each prompt, as the pipeline itself computes it."""

    @contextmanager
    def encoding_vae(self) -> Iterator[Any]:
        """The autoencoder, in float32 if it was in half: some overflow in float16, all lose in it.

        Whoever draws meanwhile would decode by it: be in a block on the model (`Block`).
        """
        vae = self.pipeline.vae
        dtype = vae.dtype
        if dtype not in (torch.float16, torch.bfloat16):
            yield vae
            return
        try:
            yield nn.Module.to(vae, torch.float32)  # diffusers' own warns of every such call
        finally:
            nn.Module.to(vae, dtype)

    def latent_scale(self) -> tuple[Tensor | float, Tensor | float]:
        """What is taken off the autoencoder's latents, and what they are then multiplied with."""
        return 0.0, float(self.pipeline.vae.config.scaling_factor)

    @abstractmethod
    def noise_coefficients(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """How much of the picture and how much noise there is in x_t.

        Args:
            timesteps: int64 `[n]`, from 0 (hardly any noise) on.

        Returns:
            Two float32 tensors `[n, 1, 1, 1]`.
        """

    @abstractmethod
    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a perfect denoiser predicts of x_t.

        Args:
            latents: x_0, float32 `[n, channels, height, width]`.
            noise: eps, like `latents`.
            timesteps: int64 `[n]`.

        Returns:
            Like `latents`.
        """

    @abstractmethod
    def predict(self, run: Run, noisy: Tensor, timesteps: Tensor, prompts: Conditioning) -> Tensor:
        """The denoiser's output, like `noisy`.

        Args:
            run: the denoiser; it takes its own arguments and gives its first output.
            noisy: x_t, in the denoiser's type.
            timesteps: int64 `[n]`.
            prompts: n of them, in the denoiser's type.
        """

    def solver(self, name: str | None = None) -> Any:
        """A new scheduler to draw with.

        Args:
            name: of the scheduler in diffusers; None for one that draws in few steps.

        Raises:
            InputError: it is none of `schedulers`.
        """
        own = type(self.pipeline.scheduler).__name__
        default = own if own in DISTILLED else self.schedulers[0]
        if name not in (None, *self.schedulers):
            raise InputError(
                f"scheduler {name!r}: draws no {self.title}; expected one of "
                f"{', '.join(each.removesuffix('Scheduler') for each in self.schedulers)}"
            )
        return scheduler_of(name or default, self.pipeline.scheduler.config)

    def settings(self, count: int, guidance: float, negative_prompt: str) -> dict[str, Any]:
        """What the pipeline is called with besides the prompts.

        Args:
            count: the number of pictures that are drawn at once.
            guidance: weight of classifier-free guidance.
            negative_prompt: what to steer away from; "" for nothing.
        """
        return {"guidance_scale": guidance, "negative_prompt": [negative_prompt] * count}


class Diffusion(Family):
    """A family that is trained to predict the noise or the velocity."""

    schedulers = DIFFUSION
    predictions = ("epsilon", "v_prediction")

    def check(self, name: str) -> None:
        """Refuses other predictions and schedules too."""
        super().check(name)
        scheduler = self.pipeline.scheduler
        kind = scheduler.config.get("prediction_type", "epsilon")
        if kind not in self.predictions:
            expected = " or ".join(self.predictions)
            raise InputError(
                f"model {name!r}: its scheduler predicts {kind!r}; expected {expected}"
            )
        if getattr(scheduler, "alphas_cumprod", None) is None:
            raise InputError(
                f"model {name!r}: its scheduler, {type(scheduler).__name__}, has no alphas_cumprod;"
                " expected one such as DDIMScheduler"
            )

    @cached_property
    def _alphas(self) -> Tensor:
        """Those of the configuration, of which some schedulers ignore a part (zero SNR)."""
        alphas: Tensor = DDPMScheduler.from_config(self.pipeline.scheduler.config).alphas_cumprod
        return alphas

    def noise_coefficients(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_t) and sqrt(1 - alpha_t)."""
        alphas = self._alphas.to(timesteps.device, torch.float32)[timesteps].view(-1, 1, 1, 1)
        return alphas.sqrt(), (1 - alphas).sqrt()

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise, or the velocity for a v-prediction model."""
        if self.pipeline.scheduler.config.prediction_type == "epsilon":
            return noise
        signal, spread = self.noise_coefficients(timesteps)
        return signal * noise - spread * latents


class Flow(Family):
    """A family that is trained by flow matching: x_t = (1 - sigma) x_0 + sigma eps."""

    schedulers = FLOW

    def check(self, name: str) -> None:
        """Refuses other schedulers too."""
        super().check(name)
        scheduler = self.pipeline.scheduler
        if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            raise InputError(
                f"model {name!r}: its scheduler is a {type(scheduler).__name__}; expected a "
                "FlowMatchEulerDiscreteScheduler"
            )

    @cached_property
    def _sigmas(self) -> Tensor:
        """Those of training, from little noise to pure noise: drawing changes the ones in use."""
        sigmas: Tensor = self.solver(self.schedulers[0]).sigmas
        return sigmas.flip(0)

    def latent_scale(self) -> tuple[float, float]:
        """Shifted too."""
        config = self.pipeline.vae.config
        return float(getattr(config, "shift_factor", None) or 0), float(config.scaling_factor)

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """The share of noise at each timestep, float32 `[n]`."""
        return self._sigmas.to(timesteps.device)[timesteps]

    def noise_coefficients(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """1 - sigma and sigma."""
        sigmas = self.sigmas(timesteps).view(-1, 1, 1, 1)
        return 1 - sigmas, sigmas

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The way from the picture to the noise."""
        return noise - latents


def _knows_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer has a vocabulary: without its files, one of special tokens is made."""
    ids = tokenizer("a photo", add_special_tokens=False).input_ids
    return bool({*ids} - {*tokenizer.all_special_ids})
