"""The families of text-to-image models: each a class that says what is its own.

A new one is a subclass of `Diffusion` or `Flow`, entered in `FAMILIES`; which of its weights are
in question `cones.neurons.projections` says.
"""

from collections.abc import Sequence
from typing import Any

from cones.errors import InputError
from cones.models.families.conditioning import Conditioning
from cones.models.families.family import Diffusion, Family, Flow
from cones.models.families.transformer import Flux, PixArt, StableDiffusion3
from cones.models.families.unet import StableDiffusion, StableDiffusionXL

FAMILIES: tuple[type[Family], ...] = (
    StableDiffusion, StableDiffusionXL, StableDiffusion3, Flux, PixArt,
)  # fmt: skip

__all__ = [
    "FAMILIES",
    "Conditioning",
    "Diffusion",
    "Family",
    "Flow",
    "StableDiffusion",
    "check_served",
    "family_of",
]


def family_of(pipeline: Any) -> Family:
    """The family of a pipeline.

    Raises:
        InputError: its kind is not served.
    """
    names = [kind.__name__ for kind in type(pipeline).__mro__]
    return check_served("pipeline", names)(pipeline)


def check_served(model: str, names: Sequence[str]) -> type[Family]:
    """The family that serves a kind of pipeline.

    Args:
        model: what to call the model in the refusal.
        names: of the pipeline's class, and of those that it inherits from.

    Raises:
        InputError: it is not served.
    """
    for family in FAMILIES:
        if not {*family.pipelines}.isdisjoint(names):
            return family
    served = ", ".join(name for family in FAMILIES for name in family.pipelines)
    raise InputError(
        f"model {model!r}: is a {names[0]}, which is not served; expected one of {served}"
    )
