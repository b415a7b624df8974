"""From dense fine-tuning to neurons: the mask whose shutting does what the changed weights do.

Each matrix is fitted by itself, as in layer-wise pruning. With W the weight, D its dense change, M
the mask, s the strength and c the inputs of the projection, it looks for

    min_M  E |(s W * M + D) c|^2  +  price * |M|,

shutting or opening in every row the one weight that pays best, until none pays. The expectation
needs only G = E c c^T. One price holds for all matrices; the number of neurons allowed sets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PRICES = 24  # tried at most
CLOSE = 0.01  # below the number of neurons allowed: near enough


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


def reconstruct(matrices: Sequence[Matrix], count: int, strength: float = 1.0) -> list[Tensor]:
    """The weights to shut so that the outputs change as fine-tuning changed them.

    Args:
        matrices: of all layers.
        count: neurons allowed. There are fewer where more would only add to the error.
        strength: of the shutting: 1 sets to zero, 2 flips the sign.

    Returns:
        The mask of each matrix, bool `[out, in]`.
    """
    fits = [_Fit(matrix, strength) for matrix in matrices]
    low, high = 0.0, max(0.0, *(fit.gains().max().item() for fit in fits))  # nothing pays so much
    price = high
    for _ in range(PRICES):
        price = (low * high) ** 0.5 if low else price / 8
        found = sum(fit.descend(price) for fit in fits)
        low, high = (price, high) if found > count else (low, price)
        if (1 - CLOSE) * count <= found <= count:
            break
    while sum(fit.descend(price) for fit in fits) > count:
        price *= 1 + CLOSE
    return [fit.shut for fit in fits]


def error(matrix: Matrix, mask: Tensor, strength: float = 1.0) -> float:
    """The error that a mask leaves in a matrix's outputs, as a share of what no mask leaves."""
    left = matrix.change + strength * matrix.weight * mask
    errors = [
        ((each @ matrix.gram) * each).sum(1) @ matrix.importance for each in (left, matrix.change)
    ]
    return (errors[0] / errors[1]).item()


class _Fit:
    """A matrix's mask on its way, all rows at once."""

    def __init__(self, matrix: Matrix, strength: float) -> None:
        """Begins with nothing shut."""
        self.gram, self.importance = matrix.gram, matrix.importance[:, None]
        self.square = matrix.gram.diagonal()
        self.flip = -strength * matrix.weight  # what a flip of the mask adds to the weight
        self.slope = -matrix.change @ matrix.gram  # half the error's, in the weight
        self.shut = torch.zeros_like(matrix.weight, dtype=torch.bool)

    def gains(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """By how much the error falls when a weight's mask is flipped, float32 `[rows, in]`."""
        flip = self.flip[rows]
        return -flip * (2 * self.slope[rows] + flip * self.square) * self.importance[rows]

    def descend(self, price: float) -> int:
        """Flips in each row what pays best, again and again; each flip lowers error + price.

        Returns:
            How many are shut then.
        """
        rows = torch.arange(len(self.shut), device=self.shut.device)
        for _ in range(self.shut.shape[1]):
            toll = torch.where(self.shut[rows], -price, price)
            best, column = (self.gains(rows) - toll).max(1)
            pays = best > 0
            rows, column = rows[pays], column[pays]
            if not len(rows):
                break
            change = self.flip[rows, column]
            self.slope[rows] += change[:, None] * self.gram[column]
            self.flip[rows, column] = -change
            self.shut[rows, column] ^= True
        return int(self.shut.sum())
