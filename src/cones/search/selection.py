"""From scores and a density to the weights to shut: pure functions, no new pass needed."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from cones.checks import check_density
from cones.errors import InputError
from cones.neurons.codec import Indices

Selector = Callable[[int], Tensor]  # number of neurons -> their positions, int64


def neuron_count(density: float, size: int, subjects: int = 1) -> int:
    """Return how many neurons a density is, for some subjects together.

    Args:
        density: share of the weights for each subject, in (0, 1).
        size: number of weights, N.
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
    """Return the positions of the `count` largest scores, int64 `[count]`, in no order.

    Args:
        scores: float32 `[N]`.
        count: at most N.

    Raises:
        InputError: a score is NaN, which cannot be ranked.
    """
    if torch.isnan(scores).any():
        raise InputError("scores: some are NaN, which cannot be ranked; lower the rate")
    return largest(scores, count)


def largest(scores: Tensor, count: int) -> Tensor:
    """Return what `top` does, without its check for NaN, for which a GPU has to be waited for."""
    return scores.topk(count, sorted=False).indices


def split_by_layer(positions: Tensor, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Indices]:
    """Split positions in the concatenated weights into each layer's own, sorted.

    Args:
        positions: int64, in `[0, N)`, without repetition.
        shapes: layer -> shape, in the order in which the weights were concatenated.
    """
    order = np.sort(positions.cpu().numpy())
    edges = _edges(shapes)
    cuts = np.searchsorted(order, edges)
    return {layer: order[cuts[k] : cuts[k + 1]] - edges[k] for k, layer in enumerate(shapes)}


def flatten_positions(
    indices: Mapping[str, Indices], shapes: Mapping[str, tuple[int, int]]
) -> Tensor:
    """Return the positions in the concatenated weights, int64: the inverse of `split_by_layer`.

    Args:
        indices: layer -> flat positions in its weight, of all layers in `shapes`.
        shapes: layer -> shape, in the order in which the weights were concatenated.
    """
    starts = _edges(shapes)[:-1]
    parts = [indices[layer] + start for layer, start in zip(shapes, starts, strict=True)]
    return torch.from_numpy(np.concatenate(parts))


def _edges(shapes: Mapping[str, tuple[int, int]]) -> np.ndarray:
    """Return where each layer begins in the concatenated weights, and where the last one ends."""
    sizes = [rows * columns for rows, columns in shapes.values()]
    return np.cumsum([0, *sizes])
