"""Where in the picture each word of a prompt is looked at: maps of the cross-attention."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from cones.checks import MAX_SEED, check_count, check_some
from cones.errors import InputError
from cones.models.backbone import Backbone
from cones.models.finite import require_finite
from cones.models.images import square
from cones.neurons.shutting import shut
from cones.neurons.union import Neurons
from cones.sampling.generate import generate
from cones.sampling.recording import Recorder, recording
from cones.subjects.photos import rgb_images

TIMESTEPS = (200, 400, 600)  # of noised photographs: from nearly clean to nearly gone
_BATCH = 16


@dataclass(frozen=True)
class AttentionMaps:
    """How much each place of a picture attends to each word.

    Attributes:
        tokens: the prompt's tokens as text, without start, end and padding; mostly whole words.
        maps: of each token, float32 `[tokens, side, side]` on the CPU: probabilities, whose sum
            over all tokens, start, end and padding too, is 1 at each place.
        image: the picture that they belong to.
    """

    tokens: tuple[str, ...]
    maps: Tensor
    image: Image.Image


@torch.no_grad()
def resolutions(backbone: Backbone) -> tuple[int, ...]:
    """The resolutions of a model's cross-attention, as sides of square maps, the finest first.

    Raises:
        InputError: the model has no cross-attention.
    """
    family = backbone.family
    shape = (1, family.config.in_channels, family.sample_size, family.sample_size)
    with recording(backbone, 1) as recorder:
        timestep = torch.zeros(1, dtype=torch.int64, device=backbone.device)
        noisy = torch.zeros(shape, device=backbone.device)
        backbone.predict(noisy, timestep, backbone.encode_prompts([""]))
    return recorder.sides


def attention_maps(
    backbone: Backbone,
    prompt: str,
    seed: int = 0,
    neurons: Neurons | Iterable[Neurons] | None = None,
    strength: float | None = None,
    steps: int = 20,
    guidance: float = 5.0,
    resolution: int | None = None,
) -> AttentionMaps:
    """Draws a picture, the same as `generate` draws, and tells where each word was looked at.

    Args:
        backbone: the model.
        prompt: what to draw.
        seed: of the noise.
        neurons: shut for the duration; several sets are united.
        strength: of the shutting; None for what the neurons recommend.
        steps: of the solver, over which the maps are means.
        guidance: weight of classifier-free guidance; only the half with the prompt is recorded.
        resolution: side of the maps; None for the finest.

    Raises:
        InputError: the prompt is empty, the model has no cross-attention or none of that
            resolution, or `generate` refuses.
        BaseModelError: the neurons are of a model of another layout.
    """
    tokens, side = _tokens(backbone, prompt), _side(backbone, resolution)
    with recording(backbone, 1) as recorder:
        (picture,) = generate(
            backbone,
            prompt,
            [seed],
            neurons=neurons,
            strength=strength,
            steps=steps,
            guidance=guidance,
        )
    (maps,) = _of_tokens(backbone, recorder, side, tokens)
    return AttentionMaps(tokens, maps, picture.image)


@torch.no_grad()
def photo_maps(
    backbone: Backbone,
    images: Sequence[Image.Image],
    prompt: str,
    neurons: Neurons | Iterable[Neurons] | None = None,
    strength: float | None = None,
    timesteps: Sequence[int] = TIMESTEPS,
    seed: int = 0,
    resolution: int | None = None,
) -> list[AttentionMaps]:
    """The maps of photographs, to which noise is added: what is where in them is known.

    Args:
        backbone: the model.
        images: of any size; cut to the centre square.
        prompt: the same for all.
        neurons: shut for the duration; several sets are united.
        strength: of the shutting; None for what the neurons recommend.
        timesteps: at which noise is added; the maps are means over them.
        seed: of the noise.
        resolution: side of the maps; None for the finest.

    Returns:
        The maps of each image, with the square that the model sees.

    Raises:
        InputError: no image, no or a wrong timestep, an empty prompt, a model without
            cross-attention or without any of that resolution, or a strength or seed out of range.
        BaseModelError: the neurons are of a model of another layout.
    """
    images = rgb_images(check_some("images", images), "images")
    timesteps = [
        check_count("timestep", each, 0, backbone.timesteps - 1)
        for each in check_some("timesteps", timesteps)
    ]
    seed = check_count("seed", seed, 0, MAX_SEED)
    tokens, side = _tokens(backbone, prompt), _side(backbone, resolution)
    latents, _ = backbone.encode_images(images)
    states = backbone.encode_prompts([prompt])
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    parts = []
    with nullcontext() if neurons is None else shut(backbone, neurons, strength):
        for start in range(0, len(images), _BATCH):
            some, eps = (part[start : start + _BATCH] for part in (latents, noise))
            with recording(backbone, len(some)) as recorder:
                for timestep in timesteps:
                    t = torch.full((len(some),), timestep, device=backbone.device)
                    noisy = backbone.add_noise(some, eps, t)
                    backbone.predict(noisy, t, states[[0] * len(some)])
            parts.append(_of_tokens(backbone, recorder, side, tokens))
    squares = [square(image, backbone.resolution) for image in images]
    return [AttentionMaps(tokens, *each) for each in zip(torch.cat(parts), squares, strict=True)]


def _tokens(backbone: Backbone, prompt: str) -> tuple[str, ...]:
    """The text of each token of a prompt that the model reads."""
    ids = backbone.token_ids(prompt)[: backbone.family.max_prompt_tokens]
    if not ids:
        raise InputError(f"prompt {prompt!r}: expected at least one word to map, found none")
    return tuple(backbone.tokenizer.decode([number]).strip() for number in ids)


def _side(backbone: Backbone, resolution: int | None) -> int:
    """The side of the maps that are asked for."""
    sides = resolutions(backbone)
    if resolution not in (None, *sides):
        known = ", ".join(map(str, sides))
        raise InputError(
            f"resolution: expected one that {backbone.name} attends at ({known}), found "
            f"{resolution}"
        )
    return resolution or sides[0]


def _of_tokens(backbone: Backbone, recorder: Recorder, side: int, tokens: Sequence[str]) -> Tensor:
    """The maps of the prompt's own tokens, which stand behind the start's, if there is one."""
    first = backbone.family.num_prefix_tokens
    maps = recorder.mean(side)[:, first : first + len(tokens)]
    require_finite(backbone.pipeline, "the attention maps", maps, "load the model in float32")
    return maps
