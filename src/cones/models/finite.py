"""What a model computes is finite, or refused before it passes for a picture, a loss or a score."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cones.errors import ConesError, InputError


def require_finite(pipeline: Any, what: str, values: Tensor, remedy: str) -> None:
    """Refuses values of which one is NaN or infinite, and names the likely cause.

    Args:
        pipeline: the diffusers pipeline that computed them.
        what: what they are.
        values: of any shape.
        remedy: what to do if no weight of the pipeline is to blame.

    Raises:
        InputError: a weight of the pipeline is NaN or infinite.
        ConesError: all weights are finite, so they overflowed on the way.
    """
    if torch.isfinite(values).all():
        return
    for part, module in pipeline.components.items():
        if isinstance(module, nn.Module) and (name := _damaged(module)):
            raise InputError(
                f"model: {name} of its {part} has values that are NaN or infinite, and so have "
                f"{what}; load an undamaged copy, or in float32"
            )
    raise ConesError(f"{what}: became NaN or infinite; {remedy}")


@contextmanager
def finite_pictures(pipeline: Any) -> Iterator[None]:
    """While the block runs, latents and decoded pictures that are not finite are refused.

    Latents are looked at before they are decoded: of NaN a pipeline makes a black picture.
    """
    dtype = str(pipeline.vae.dtype).removeprefix("torch.")

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        require_finite(
            pipeline,
            "the latents",
            inputs[0],
            "draw with less guidance, or load the model in float32",
        )

    def after(_: nn.Module, __: object, decoded: Tensor) -> None:
        require_finite(
            pipeline,
            "the decoded pictures",
            decoded,
            f"the autoencoder's {dtype} is too small for some; load the model in float32",
        )

    decoder = pipeline.vae.decoder
    hooks = [decoder.register_forward_pre_hook(before), decoder.register_forward_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _damaged(module: nn.Module) -> str | None:
    """The name of a weight that is not finite."""
    for name, weight in module.named_parameters():
        if not torch.isfinite(weight).all():
            return name
    return None
