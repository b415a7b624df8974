"""Masks that know nothing of the subject: what concept neurons must be better than."""

from collections.abc import Callable

import torch
from torch import Tensor

from cones.layers import model_name, projections, shapes
from cones.neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.selection import by_layer, check_density, top
from cones.shutting import base_fingerprint


def random_neurons(
    model: object, subject: SubjectInfo, density: float, seed: int
) -> ConceptNeurons:
    """Weights drawn at random, all equally likely.

    Args:
        model: a denoiser, a diffusers pipeline or a backbone.
        subject: whose token the mask is to be tried with.
        density: share of the text's projections to shut, in (0, 1).
        seed: of the drawing.

    Raises:
        InputError: the density is out of range.
    """
    generator = torch.Generator().manual_seed(seed)

    def scores(theta: Tensor) -> Tensor:
        return torch.rand(len(theta), generator=generator, dtype=torch.float64)

    info = {"algorithm": "random", "seed": str(seed)}
    return _control(model, subject, density, scores, info)


def magnitude_neurons(
    model: object, subject: SubjectInfo, density: float, largest: bool = True
) -> ConceptNeurons:
    """The weights with the largest |theta|, or those with the smallest.

    Args:
        model: a denoiser, a diffusers pipeline or a backbone.
        subject: whose token the mask is to be tried with.
        density: share of the text's projections to shut, in (0, 1).
        largest: False for the smallest.

    Raises:
        InputError: the density is out of range.
    """
    info = {"algorithm": "largest" if largest else "smallest"}
    return _control(
        model, subject, density, lambda theta: theta.abs() if largest else -theta.abs(), info
    )


def _control(
    model: object,
    subject: SubjectInfo,
    density: float,
    scores: Callable[[Tensor], Tensor],
    info: dict[str, str],
) -> ConceptNeurons:
    check_density(density)
    weights = projections(model)
    theta = torch.cat([weight.detach().float().flatten() for weight in weights.values()])
    chosen = top(scores(theta), max(1, round(density * len(theta))))
    return ConceptNeurons(
        shapes=shapes(weights),
        indices=by_layer(chosen, shapes(weights)),
        subjects=(subject,),
        base=BaseInfo(model_name(model), base_fingerprint(model)),
        info=info,
    )
