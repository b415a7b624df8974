"""From scores and a density to the weights to shut: pure functions, no new pass needed."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cones.checks import check_density
from cones.errors import InputError
from cones.neurons.codec import Indices


def neuron_count(density: float, size: int, subjects: int = 1) -> int:
    """How many neurons a density is, for some subjects together.

    Args:
        density: share of the weights for each subject.
        size: number of weights.
        subjects: number of subjects.

    Raises:
        InputError: it is less than one neuron, or more than all weights.
    """
    density = check_density(density, subjects)
    count = round(density * subjects * size)
    if count < 1:
        raise InputError(
            f"density: {density:g} of {size} weights is not one neuron; expected at least "
            f"{1 / (subjects * size):.2g}"
        )
    return count


def top(scores: Tensor, count: int) -> Tensor:
    """The positions of the `count` largest scores, int64, in no order.

    Args:
        scores: float32 `[N]`.
        count: at most N.

    Raises:
        InputError: a score is NaN: it cannot be ranked.
    """
    if torch.isnan(scores).any():
        raise InputError("scores: some are NaN, which cannot be ranked; lower the rate")
    return largest(scores, count)


def largest(scores: Tensor, count: int) -> Tensor:
    """`top` without the look for NaN, which makes a GPU wait."""
    return scores.topk(count, sorted=False).indices


def by_layer(chosen: Tensor, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Indices]:
    """Positions in all weights laid end to end -> each layer's own sorted flat positions.

    Args:
        chosen: int64, in `[0, N)`, without repetition.
        shapes: layer -> shape, in the order in which they were laid.
    """
    order = np.sort(chosen.cpu().numpy())
    sizes = [rows * columns for rows, columns in shapes.values()]
    edges = np.concatenate([[0], np.cumsum(sizes)])
    cuts = np.searchsorted(order, edges)
    return {layer: order[cuts[k] : cuts[k + 1]] - edges[k] for k, layer in enumerate(shapes)}


def laid(indices: Mapping[str, Indices], shapes: Mapping[str, tuple[int, int]]) -> Tensor:
    """The reverse of `by_layer`: positions in all weights laid end to end, int64."""
    sizes = [rows * columns for rows, columns in shapes.values()]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    parts = [indices[layer] + start for layer, start in zip(shapes, starts, strict=True)]
    return torch.from_numpy(np.concatenate(parts))
