"""From dense fine-tuning to neurons: the mask whose shutting does what the changed weights do.

Each matrix is fitted by itself, as in layer-wise pruning. With W the weight, D its dense change, M
the mask, s the strength and c the inputs of the projection, it looks for

    min_M  E |(s W * M + D) c|^2  +  penalty * |M|,

shutting or opening in every row the one weight that lowers this most, until none does. The
expectation needs only G = E c c^T. One penalty holds for all matrices; the number of neurons
allowed sets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cones.search.objective import ImplantingLoss
from cones.search.selection import Selector

MAX_PENALTIES = 24  # tried
TOLERANCE = 0.01  # so much below the number of neurons allowed is near enough


@dataclass(frozen=True)
class Matrix:
    """One projection: what was fine-tuned, and how much its errors matter.

    Attributes:
        weight: float32 `[out, in]`.
        change: what fine-tuning added to it, like `weight`.
        gram: G, float32 `[in, in]`.
        importance: of each row's squared error, float32 `[out]`.
    """

    weight: Tensor
    change: Tensor
    gram: Tensor
    importance: Tensor


def selector(
    objective: ImplantingLoss, weights: Tensor, squares: Tensor, strength: float
) -> Selector:
    """Return what selects the positions whose shutting does what the fine-tuned weights do.

    How much an output matters is told by the mean square of its gradient, for which that of its
    row of weights stands.

    Args:
        objective: the loss, whose `theta` was fine-tuned.
        weights: the fine-tuned weights, float32 `[N]`.
        squares: the running mean square of each weight's gradient, float32 `[N]`.
        strength: of the shutting: 1 sets to zero, 2 flips the sign.
    """
    theta, tuned, mean_squares = (
        objective.unflatten(each) for each in (objective.theta, weights, squares)
    )
    grams = objective.grams(weights)
    matrices = [
        Matrix(
            theta[layer],
            tuned[layer] - theta[layer],
            gram := grams[layer],
            mean_squares[layer].mean(1) / gram.diagonal().mean(),
        )
        for layer in theta
    ]

    def select(count: int) -> Tensor:
        masks = reconstruct(matrices, count, strength)
        return torch.cat([mask.flatten() for mask in masks]).nonzero().flatten()

    return select


def reconstruct(matrices: Sequence[Matrix], count: int, strength: float = 1.0) -> list[Tensor]:
    """Return the masks whose shutting changes the outputs as fine-tuning changed them.

    Args:
        matrices: one for each layer.
        count: neurons allowed; fewer are chosen where more would only add to the error.
        strength: of the shutting: 1 sets to zero, 2 flips the sign.

    Returns:
        The mask of each matrix, bool `[out, in]`.
    """
    fits = [_Fit(matrix, strength) for matrix in matrices]
    low, high = 0.0, max(0.0, *(fit.gains().max().item() for fit in fits))
    penalty = high  # with it nothing is shut
    for _ in range(MAX_PENALTIES):
        penalty = (low * high) ** 0.5 if low else penalty / 8
        found = sum(fit.descend(penalty) for fit in fits)
        low, high = (penalty, high) if found > count else (low, penalty)
        if (1 - TOLERANCE) * count <= found <= count:
            break
    while sum(fit.descend(penalty) for fit in fits) > count:
        penalty *= 1 + TOLERANCE
    return [fit.shut for fit in fits]


def error(matrix: Matrix, mask: Tensor, strength: float = 1.0) -> float:
    """Return the error that a mask leaves in a matrix's outputs, as a share of that without one.

    Args:
        matrix: the projection.
        mask: bool `[out, in]`.
        strength: of the shutting.
    """
    left = matrix.change + strength * matrix.weight * mask
    errors = [
        ((each @ matrix.gram) * each).sum(1) @ matrix.importance for each in (left, matrix.change)
    ]
    return (errors[0] / errors[1]).item()


class _Fit:
    """A matrix's mask as it is fitted, all rows at once."""

    def __init__(self, matrix: Matrix, strength: float) -> None:
        """Begin with nothing shut."""
        self.gram, self.importance = matrix.gram, matrix.importance[:, None]
        self.square = matrix.gram.diagonal()
        self.flip = -strength * matrix.weight  # what a flip of the mask adds to the weight
        self.slope = -matrix.change @ matrix.gram  # half the error's, in the weight
        self.shut = torch.zeros_like(matrix.weight, dtype=torch.bool)

    def gains(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return by how much flipping a weight's mask lowers the error, float32 `[rows, in]`."""
        flip = self.flip[rows]
        return -flip * (2 * self.slope[rows] + flip * self.square) * self.importance[rows]

    def descend(self, penalty: float) -> int:
        """Flip in each row what lowers error + penalty most, until nothing does.

        Args:
            penalty: for each weight that is shut.

        Returns:
            How many are shut then.
        """
        rows = torch.arange(len(self.shut), device=self.shut.device)
        for _ in range(self.shut.shape[1]):
            added = torch.where(self.shut[rows], -penalty, penalty)
            best, column = (self.gains(rows) - added).max(1)
            lowers = best > 0
            rows, column = rows[lowers], column[lowers]
            if not len(rows):
                break
            change = self.flip[rows, column]
            self.slope[rows] += change[:, None] * self.gram[column]
            self.flip[rows, column] = -change
            self.shut[rows, column] ^= True
        return int(self.shut.sum())
