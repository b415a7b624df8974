"""A text-to-image diffusion pipeline, frozen, with what the search and the drawing ask of it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from importlib.metadata import version
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedTokenizerBase

from cones.checks import check_count, check_some
from cones.errors import InputError
from cones.models.families import Conditioning, Family, family_of
from cones.models.finite import require_finite
from cones.models.images import squares, to_tensor
from cones.models.prompts import (
    character_warning,
    markup_warning,
    ordinary_warning,
    rare_tokens,
    token_fault,
    unowned_warning,
)
from cones.neurons.blocks import Block
from cones.neurons.projections import denoiser, parameters
from cones.neurons.tokens import token_ids
from cones.text import printable

MAX_SIDE = 8192  # of a picture, in pixels

Value = TypeVar("Value")
Given = ParamSpec("Given")


def alone(
    method: "Callable[Concatenate[Backbone, Given], Value]",
) -> "Callable[Concatenate[Backbone, Given], Value]":
    """A method of a backbone that no other thread or task is to meet.

    Its weights may be others for a while, and its tokenizers keep how they are to pad and to cut.
    """

    @wraps(method)
    def in_a_block(self: "Backbone", /, *arguments: Given.args, **named: Given.kwargs) -> Value:
        with Block(self):
            return method(self, *arguments, **named)

    return in_a_block


_IN_FLOAT32 = "load the model in float32"


class _Around(nn.Module):
    """A denoiser in which `torch.func.functional_call` can call any function."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, fn: Callable[[], Value]) -> Value:
        """Call it."""
        return fn()


@dataclass(frozen=True)
class Backbone:
    """A frozen text-to-image model: epsilon_theta of the paper with its encoders and its schedule.

    All that computes with it does so in a block (`cones.neurons.blocks`): no neurons of other
    threads or tasks are shut meanwhile.

    Attributes:
        pipeline: the diffusers pipeline, of one of `cones.models.families`.
        name: what to call it in files and messages.
        amp: the type of autocast in `predict`; None for the weights' own.
        scheduler: what is drawn with, by its name in diffusers; None for the family's default.
    """

    pipeline: DiffusionPipeline
    name: str
    amp: torch.dtype | None = None
    scheduler: str | None = None

    @cached_property
    def family(self) -> Family:
        """What is its kind's own."""
        return family_of(self.pipeline)

    @property
    def denoiser(self) -> nn.Module:
        """The UNet or transformer, without a compiled wrapper."""
        return denoiser(self.pipeline)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the prompts."""
        return self.family.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the denoiser's weights."""
        return next(self.denoiser.parameters()).dtype

    @property
    def resolution(self) -> int:
        """Side of its pictures, in pixels."""
        return int(self.family.sample_size * self.pipeline.vae_scale_factor)

    def side(self, name: str, asked: int | None = None) -> int:
        """The height or width of a picture to draw, in pixels.

        Args:
            name: which of them.
            asked: how long it is to be; None for `resolution`.

        Raises:
            InputError: the model draws no picture of that size.
        """
        if asked is None:
            return self.resolution
        multiple, most = self.family.multiple, self.family.largest or MAX_SIDE
        if check_count(name, asked, multiple, most) % multiple:
            raise InputError(f"{name}: expected a multiple of {multiple}, found {asked}")
        return asked

    @property
    def timesteps(self) -> int:
        """Number of steps of the noise schedule, the paper's T."""
        return int(self.pipeline.scheduler.config.num_train_timesteps)

    def provenance(self) -> dict[str, str]:
        """What a result depends on besides the model's weights.

        Returns:
            "precision": the types that are computed in, and the scheduler that draws if one was
            chosen; and "versions".
        """
        packages = ("torch", "diffusers", "transformers")
        return {
            "precision": ", ".join(
                filter(None, [f"{self.dtype}", f"autocast {self.amp}", self.scheduler])
            ),
            "versions": json.dumps({name: version(name) for name in packages}, sort_keys=True),
        }

    @alone
    @torch.no_grad()
    def encode_images(
        self, images: Sequence[Image.Image], batch: int = 16
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents of each image.

        Args:
            images: RGB, of any size; cut to the centre square and scaled to `resolution`.
            batch: how many go through the autoencoder at once.

        Returns:
            Two float32 tensors `[n, channels, height, width]`, scaled as the denoiser wants them.
        """
        images, batch = check_some("images", images), check_count("batch", batch)
        means, deviations = [], []
        with self.family.encoding_vae() as vae:
            for start in range(0, len(images), batch):
                some = images[start : start + batch]
                pixels = to_tensor(squares(some, self.resolution), vae.device).to(vae.dtype)
                mean, deviation = _moments(vae.encode(pixels))
                means.append(mean.float())
                deviations.append(deviation.float())
        for part in (*means, *deviations):
            require_finite(self.pipeline, "the images' latents", part, _IN_FLOAT32)
        centre, scale = (
            each.to(self.device) if isinstance(each, Tensor) else each
            for each in self.family.latent_scale()
        )
        return (torch.cat(means) - centre) * scale, torch.cat(deviations) * scale

    @alone
    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """What the denoiser is told of each prompt, padded as the pipeline does."""
        encoded = self.family.encode_prompts(prompts)
        require_finite(self.pipeline, "the prompts' states", encoded.states, _IN_FLOAT32)
        if encoded.pooled is not None:
            require_finite(self.pipeline, "the prompts' summary", encoded.pooled, _IN_FLOAT32)
        return encoded

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noised latents, x_t = alpha_t x_0 + sigma_t eps.

        Args:
            latents: x_0, float32 `[n, channels, height, width]`.
            noise: eps, like `latents`.
            timesteps: int64 `[n]`.

        Returns:
            Like `latents`.
        """
        signal, spread = self.family.noise_coefficients(timesteps)
        return signal * latents + spread * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser should predict: the noise, the velocity, or the flow's direction.

        Args:
            latents: x_0, float32 `[n, channels, height, width]`.
            noise: eps, like `latents`.
            timesteps: int64 `[n]`.

        Returns:
            Like `latents`.
        """
        return self.family.target(latents, noise, timesteps)

    @alone
    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        prompts: Conditioning,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The denoiser's output.

        Args:
            noisy: x_t, `[n, channels, height, width]`.
            timesteps: int64 `[n]`.
            prompts: n of them.
            weights: layer -> weight to compute with in place of the model's own, which stay as
                they are. To differentiate by them, see `call_with`.

        Returns:
            float32, like `noisy`.
        """
        if weights is not None:
            return self.call_with(
                parameters(weights), lambda: self.predict(noisy, timesteps, prompts)
            )

        def run(*inputs: Tensor, **named: Any) -> Tensor:
            output: Tensor = self.denoiser(*inputs, **named, return_dict=False)[0]
            return output

        inputs = (noisy.to(self.dtype), timesteps, prompts.to(self.dtype))
        amp = self.amp or torch.bfloat16
        with torch.autocast(self.device.type, amp, enabled=self.amp is not None):
            output = self.family.predict(run, *inputs)
        return output.float()

    @alone
    def call_with(self, parameters: Mapping[str, Tensor], fn: Callable[[], Value]) -> Value:
        """Call a function while the denoiser computes with other parameters; its own stay.

        Gradients are to be taken inside `fn`: with gradient checkpointing the backward pass
        repeats parts of the forward pass, with the parameters that are in place then.

        Args:
            parameters: full name of a parameter -> what takes its place, in any float type.
            fn: the function to call, without arguments.

        Returns:
            What `fn` returns.
        """
        replaced = {f"denoiser.{name}": each.to(self.dtype) for name, each in parameters.items()}
        done: Value = functional_call(_Around(self.denoiser), replaced, (fn,))
        return done

    @alone
    def token_ids(self, text: str) -> list[int]:
        """The tokens of a text, without the tokenizer's start, end and padding.

        Raises:
            InputError: the text holds half a character (a surrogate), from a broken encoding.
        """
        return token_ids(self.tokenizer, text)

    @alone
    def check_token(self, token: str, class_noun: str) -> None:
        """Refuses a subject's token that cannot carry a subject.

        Raises:
            InputError: empty, several tokens, unknown to a tokenizer, or the class noun itself.
        """
        for tokenizer in self.family.tokenizers:
            if fault := token_fault(tokenizer, token, class_noun, self.family.single_token_only):
                rare = ", ".join(self.rare_tokens(3))
                remedy = f"use a rare single token such as {rare}" if rare else "use a rarer one"
                raise InputError(f"token {token!r}: {fault}; {remedy}")

    @alone
    def check_prompt(self, prompt: str, needed: Sequence[str] = ()) -> str | None:
        """Whether a prompt fits the tokenizers.

        Args:
            prompt: what to draw.
            needed: words (tokens of subjects) that must not be cut off.

        Returns:
            A warning if the end of the prompt is cut off; else None.

        Raises:
            InputError: a needed word is cut off.
        """
        room, said = self.family.max_prompt_tokens, printable(repr(prompt), 160)
        read = [(each, token_ids(each, prompt)) for each in self.family.tokenizers]
        most = max(len(ids) for _, ids in read)
        if most <= room:
            return None
        for tokenizer, ids in read:
            for word in needed:
                wanted = token_ids(tokenizer, word)
                if not any(
                    ids[k : k + len(wanted)] == wanted for k in range(room + 1 - len(wanted))
                ):
                    raise InputError(
                        f"prompt {said}: {word!r} stands behind token {room}, where "
                        f"{self.name} cuts prompts off ({len(ids)} tokens found); shorten the "
                        "prompt"
                    )
        further = self.family.further_reader
        rest = f"only its {further} reads what follows" if further else "what follows has no effect"
        return f"prompt {said}: has {most} tokens, {self.name} reads the first {room}; {rest}"

    @alone
    def prompt_remarks(self, prompt: str) -> list[str]:
        """What a prompt says in vain: the markup of other programs, characters that are lost."""
        found = [
            markup_warning(prompt),
            *(character_warning(each, prompt) for each in self.family.tokenizers),
        ]
        return [f"prompt {prompt!r}: {each}" for each in dict.fromkeys(filter(None, found))]

    def rare_tokens(self, count: int) -> list[str]:
        """Words that can be a subject's here and that hardly any caption uses, best first."""
        return self._rare[:count]

    @alone
    def ordinary_warning(self, token: str) -> str | None:
        """What to say of a token that seems to be an ordinary word."""
        return ordinary_warning(self.tokenizer, token, self._rare)

    def unowned_warning(self, prompt: str, own: Iterable[str]) -> str | None:
        """What to say of rare words in a prompt that are not among the subjects' own tokens."""
        found = unowned_warning(prompt, own, self._rare)
        return found and f"prompt {prompt!r}: {found}"

    @cached_property
    @alone
    def _rare(self) -> list[str]:
        single = self.family.single_token_only
        first, *others = (rare_tokens(each, single) for each in self.family.tokenizers)
        return [word for word in first if all(word in other for other in others)]


def check_backbone(backbone: object) -> None:
    """Refuses what is no backbone.

    Raises:
        InputError: it is something else, such as a pipeline or a name.
    """
    if not isinstance(backbone, Backbone):
        raise InputError(
            f"backbone: expected a Backbone, found a {type(backbone).__name__}; open it with "
            "cones.load_backbone, which takes a name, a folder or a pipeline"
        )


def check_differentiable(backbone: Backbone) -> None:
    """Refuses to search or train where there can be no gradient.

    Raises:
        InputError: gradients are turned off, or the model was made while they were.
    """
    if not torch.is_grad_enabled():
        raise InputError(
            "gradients are turned off here (torch.no_grad, torch.inference_mode); search and train "
            "outside of that block"
        )
    if any(parameter.is_inference() for parameter in backbone.denoiser.parameters()):
        raise InputError(
            f"{backbone.name}: was loaded in torch.inference_mode, so it has no gradients; load it "
            "outside of that block"
        )


def _moments(encoded: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of what an autoencoder says."""
    if hasattr(encoded, "latent_dist"):
        return encoded.latent_dist.mean, encoded.latent_dist.std
    return encoded.latents, torch.zeros_like(encoded.latents)  # AutoencoderTiny has no spread
