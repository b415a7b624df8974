"""Streaming statistics of theta * dL/dtheta, the paper's score of a weight.

Shutting weight i multiplies theta_i by M_i = 0. Because dL/dM = theta * dL/dtheta at M = 1, it
changes the loss by about -theta_i * dL/dtheta_i: a large positive score means that shutting the
weight implants the subject.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cones.errors import InputError


@dataclass
class GradientStats:
    """The mean score of each weight over all batches.

    A mean and no sum, so that neither a threshold nor a result depends on how many batches there
    were.

    Attributes:
        mean: float32 `[N]`.
        count: batches seen, int64, on the CPU.
    """

    mean: Tensor
    count: Tensor = field(default_factory=lambda: torch.tensor(0))

    @classmethod
    def zeros(cls, size: int, device: torch.device | str = "cpu") -> "GradientStats":
        """Return statistics of nothing yet, for N = `size` weights."""
        return cls(torch.zeros(size, device=device))

    def update(self, score: Tensor) -> None:
        """Add one batch's score theta * dL/dtheta, float32 `[N]`, to the mean."""
        self.count += 1
        self.mean.lerp_(score, 1 / int(self.count))

    def merge(self, other: "GradientStats") -> "GradientStats":
        """Return the statistics of both sets of batches together."""
        count = self.count + other.count
        share = float(other.count / count) if count else 0.0
        return GradientStats(torch.lerp(self.mean, other.mean, share), count)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all of it, as the tensors that `update` changes."""
        return {"mean": self.mean, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go back to what `state_dict` gave.

        Raises:
            InputError: the state is of another number of weights.
        """
        if state["mean"].shape != self.mean.shape:
            raise InputError(
                f"gradient statistics: expected {len(self.mean)} weights, found "
                f"{len(state['mean'])}; the checkpoint is of another model or set of layers"
            )
        self.mean.copy_(state["mean"])
        self.count.copy_(state["count"])
