"""Streaming statistics of theta * dL/dtheta, the paper's score of a weight.

Shutting weight i multiplies theta_i by M_i = 0. Because dL/dM = theta * dL/dtheta at M = 1, it
changes the loss by about -theta_i * dL/dtheta_i: a large positive score means that shutting the
weight implants the subject.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cones.errors import InputError


@dataclass
class GradientStats:
    """Mean and mean square of the scores of all weights, in one float32 vector each.

    They are means, so that neither a threshold nor a result depends on how many batches there
    were.

    Attributes:
        mean: float32 `[N]`.
        mean_square: float32 `[N]`.
        count: batches seen.
    """

    mean: Tensor
    mean_square: Tensor
    count: int = 0

    @classmethod
    def zeros(cls, size: int, device: torch.device | str = "cpu") -> "GradientStats":
        """Statistics of nothing yet, for N = `size` weights."""
        return cls(torch.zeros(size, device=device), torch.zeros(size, device=device))

    def update(self, score: Tensor) -> None:
        """Takes one batch's score theta * dL/dtheta, float32 `[N]`, into the means."""
        self.count += 1
        self.mean.lerp_(score, 1 / self.count)
        self.mean_square.lerp_(score.square(), 1 / self.count)

    def merge(self, other: "GradientStats") -> "GradientStats":
        """The statistics of both sets of batches together, as another process has them."""
        count = self.count + other.count
        share = other.count / count if count else 0.0
        return GradientStats(
            torch.lerp(self.mean, other.mean, share),
            torch.lerp(self.mean_square, other.mean_square, share),
            count,
        )

    def signal(self) -> Tensor:
        """How many standard errors each mean is away from zero: float32 `[N]`."""
        variance = (self.mean_square - self.mean.square()).clamp_min(0) / max(self.count, 1)
        return self.mean / variance.sqrt().clamp_min(torch.finfo(torch.float32).tiny)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, as tensors."""
        return {
            "mean": self.mean,
            "mean_square": self.mean_square,
            "count": torch.tensor(self.count),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes back to what `state_dict` gave.

        Raises:
            InputError: the state is of another number of weights.
        """
        if state["mean"].shape != self.mean.shape:
            raise InputError(
                f"gradient statistics: expected {len(self.mean)} weights, found "
                f"{len(state['mean'])}; the checkpoint is of another model or set of layers"
            )
        self.mean.copy_(state["mean"])
        self.mean_square.copy_(state["mean_square"])
        self.count = int(state["count"])
