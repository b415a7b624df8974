"""Recording of the cross-attention while a model computes: what each place attends to."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from cones.errors import InputError
from cones.neurons.blocks import Block
from cones.neurons.projections import denoiser, projections


class Recorder:
    """Running means of cross-attention probabilities, one for each resolution."""

    def __init__(self, pictures: int) -> None:
        """For the last `pictures` samples of each batch: the second half under guidance."""
        self.pictures = pictures
        self._sums: dict[int, Tensor] = {}
        self._counts: Counter[int] = Counter()

    @property
    def sides(self) -> tuple[int, ...]:
        """The resolutions met so far, as sides of square maps, the finest first."""
        return tuple(sorted(self._sums, reverse=True))

    def add(self, probabilities: Tensor) -> None:
        """Takes what one layer attends to: `[pictures, heads, positions, tokens]`.

        Raises:
            InputError: the positions are not those of a square picture.
        """
        side = isqrt(probabilities.shape[2])
        if side**2 != probabilities.shape[2]:
            raise InputError(
                "attention maps: expected a square picture, found one of "
                f"{probabilities.shape[2]} positions; draw with equal height and width"
            )
        mean = probabilities.float().mean(1)
        self._sums[side] = self._sums[side] + mean if side in self._sums else mean
        self._counts[side] += 1

    def mean(self, side: int) -> Tensor:
        """The mean over heads, layers of one resolution and calls (the steps).

        Returns:
            float32 `[pictures, tokens, side, side]` on the CPU, over all tokens, start, end and
            padding too.
        """
        mean = self._sums[side] / self._counts[side]
        return mean.transpose(1, 2).reshape(self.pictures, -1, side, side).cpu()


@contextmanager
def recording(model: object, pictures: int) -> Iterator[Recorder]:
    """Records the cross-attention of all that a model computes while the block runs.

    The layers compute as ever, so their output stays bit for bit the same; the probabilities are
    computed beside them, from the weights of the moment. Like every block it has the model alone,
    and it may be left in any order with others.

    Args:
        model: a denoiser, a diffusers pipeline or a backbone.
        pictures: how many samples at the end of each batch are recorded. With classifier-free
            guidance the batch is twice as large, and its second half has the prompts.

    Raises:
        InputError: the model has no cross-attention.
    """
    recorder = Recorder(pictures)

    def record(
        attention: nn.Module, positional: tuple[Tensor, ...], named: Mapping[str, Tensor]
    ) -> None:
        recorder.add(_probabilities(attention, pictures, *positional, **named))

    with Block(model):
        hooks = [
            attention.register_forward_pre_hook(record, with_kwargs=True)
            for attention in _cross_attentions(model)
        ]
        try:
            yield recorder
        finally:
            for hook in hooks:
                hook.remove()


@torch.no_grad()
def _probabilities(
    attention: Any,
    pictures: int,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    **_: Any,
) -> Tensor:
    """softmax(Q K^T / sqrt(d)) of the last pictures, `[pictures, heads, positions, tokens]`.

    The arguments are those of the attention layer.
    """
    hidden, states = hidden_states[-pictures:], encoder_hidden_states[-pictures:]
    mask = None if attention_mask is None else attention_mask[-pictures:]
    if attention.norm_cross:
        states = attention.norm_encoder_hidden_states(states)
    query = attention.head_to_batch_dim(attention.to_q(hidden))
    key = attention.head_to_batch_dim(attention.to_k(states))
    mask = attention.prepare_attention_mask(mask, states.shape[1], len(states))
    scores: Tensor = attention.get_attention_scores(query, key, mask)
    return scores.view(len(states), -1, *scores.shape[1:])


def _cross_attentions(model: object) -> list[Any]:
    """The attention layers in which the picture looks at the text alone."""
    network = denoiser(model)
    names = dict.fromkeys(layer.rpartition(".")[0] for layer in projections(network))
    layers: list[Any] = [network.get_submodule(name) for name in names]
    found = [layer for layer in layers if getattr(layer, "is_cross_attention", False)]
    if not found:
        raise InputError(
            f"attention maps: {type(network).__name__} has no cross-attention, its text and "
            "picture attend together; use a model with a UNet, such as Stable Diffusion 1 or 2"
        )
    return found
