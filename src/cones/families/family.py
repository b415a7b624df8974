"""What the pipelines of one family do in their own way; `cones.backbone` does the rest.

Two kinds of noise: `Diffusion` mixes by the schedule's cumulative alphas and predicts the noise or
the velocity; `Flow` (flow matching) goes straight from the picture to the noise.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cones.errors import InputError
from cones.families.conditioning import Conditioning
from cones.layers import denoiser

Run = Callable[..., Tensor]  # the denoiser: its inputs -> its output


class Family(ABC):
    """A pipeline, and how its kind reads prompts, adds noise, predicts and draws.

    Attributes:
        title: what people call the family.
        pipelines: the names of its diffusers pipelines.
        parts: the components that a pipeline must have.
        start: how many tokens its tokenizer puts before a prompt's own.
        whole_tokens: whether a subject's word must be one token. T5 has no rare ones: it spells
            them in pieces.
        negates: whether a negative prompt has an effect.
        variance: whether the denoiser may say the variance too, in as many channels again.
        sampler: what other programs call the solver.
    """

    title: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...]]
    parts: ClassVar[tuple[str, ...]]
    start: ClassVar[int] = 1
    whole_tokens: ClassVar[bool] = True
    negates: ClassVar[bool] = True
    variance: ClassVar[bool] = False
    sampler: ClassVar[str]

    def __init__(self, pipeline: Any) -> None:
        """For a pipeline of the family, which stays as it is."""
        self.pipeline = pipeline
        self.config: Any = denoiser(pipeline).config

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the text whose projections are in question."""
        return self.pipeline.tokenizer

    @property
    def length(self) -> int:
        """How many tokens of a prompt are read, start and end included."""
        return int(self.tokenizer.model_max_length)

    @property
    def room(self) -> int:
        """How many tokens of a prompt's own are read: all but the start and the end."""
        return self.length - self.start - 1

    @property
    def side(self) -> int:
        """Height and width of the latents that it was made for."""
        return int(self.config.sample_size)

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
        inputs = self.config.in_channels
        outputs = self.config.out_channels or inputs
        if outputs != inputs and not (self.variance and outputs == 2 * inputs):
            raise InputError(
                f"model {name!r}: its denoiser takes {inputs} channels and gives {outputs} "
                f"(inpainting or control?); expected a plain text-to-image {self.title}"
            )

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """What the denoiser is told of each prompt, as the pipeline itself computes it."""

    @contextmanager
    def encoding_vae(self) -> Iterator[Any]:
        """The autoencoder, ready to encode."""
        yield self.pipeline.vae

    @abstractmethod
    def mixture(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """How much of the picture and how much noise there is in x_t.

        Args:
            timesteps: int64 `[n]`, from 0 (hardly any noise) on.

        Returns:
            Two float32 tensors `[n, 1, 1, 1]`.
        """

    @abstractmethod
    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a perfect denoiser would say of x_t."""

    @abstractmethod
    def predict(self, run: Run, noisy: Tensor, timesteps: Tensor, prompts: Conditioning) -> Tensor:
        """The denoiser's output, like `noisy`.

        Args:
            run: the denoiser; it takes its own arguments and gives its first output.
            noisy: x_t, in the denoiser's type.
            timesteps: int64 `[n]`.
            prompts: n of them, in the denoiser's type.
        """

    @abstractmethod
    def solver(self) -> Any:
        """A new scheduler to draw with in few steps."""

    def settings(self, count: int, guidance: float, negative_prompt: str) -> dict[str, Any]:
        """What the pipeline is called with to draw `count` pictures, besides the prompts."""
        return {"guidance_scale": guidance, "negative_prompt": [negative_prompt] * count}


class Diffusion(Family):
    """A family that is trained to predict the noise or the velocity."""

    sampler = "DPM++ 2M"
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

    def mixture(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_t) and sqrt(1 - alpha_t)."""
        schedule: Tensor = self.pipeline.scheduler.alphas_cumprod
        alphas = schedule.to(timesteps.device, torch.float32)[timesteps].view(-1, 1, 1, 1)
        return alphas.sqrt(), (1 - alphas).sqrt()

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise, or the velocity for a v-prediction model."""
        if self.pipeline.scheduler.config.prediction_type == "epsilon":
            return noise
        signal, spread = self.mixture(timesteps)
        return signal * noise - spread * latents

    def solver(self) -> Any:
        """DPM-Solver++ (2M)."""
        return DPMSolverMultistepScheduler.from_config(
            self.pipeline.scheduler.config, algorithm_type="dpmsolver++", solver_order=2
        )


class Flow(Family):
    """A family that is trained by flow matching: x_t = (1 - sigma) x_0 + sigma eps."""

    sampler = "Euler"

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
        sigmas: Tensor = self.solver().sigmas
        return sigmas.flip(0)

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """The share of noise at each timestep, float32 `[n]`."""
        return self._sigmas.to(timesteps.device)[timesteps]

    def mixture(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """1 - sigma and sigma."""
        sigmas = self.sigmas(timesteps).view(-1, 1, 1, 1)
        return 1 - sigmas, sigmas

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The way from the picture to the noise."""
        return noise - latents

    def solver(self) -> Any:
        """The pipeline's own kind."""
        scheduler = self.pipeline.scheduler
        return type(scheduler).from_config(scheduler.config)


def _knows_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer has a vocabulary: without its files, one of special tokens is made."""
    ids = tokenizer("a photo", add_special_tokens=False).input_ids
    return bool({*ids} - {*tokenizer.all_special_ids})


def t5_length(pipeline: Any) -> int:
    """How many tokens a pipeline lets its T5 read: the tokenizer itself knows no limit."""
    return int(inspect.signature(pipeline.encode_prompt).parameters["max_sequence_length"].default)
