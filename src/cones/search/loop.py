"""The loop of a search: its steps are counted, reported, kept, and dropped where not finite."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from cones.errors import ConesError
from cones.progress import OnProgress
from cones.search.checkpoint import KeptSearch

MAX_DROPPED = 0.05  # of the batches may give NaN or infinity
READ_EVERY = 10  # steps: a GPU has to be waited for whenever its losses are read

Losses = Mapping[str, Tensor]  # scalars, on the device where they were computed


class Objective(Protocol):
    """L_con as a function of the weights.

    Attributes:
        theta: the model's own weights, flattened and concatenated, float32 `[N]`.
    """

    theta: Tensor

    def gradient(self, weights: Tensor, step: int) -> tuple[Losses, Tensor]:
        """Return the losses and dL_con/dtheta at `weights` on the samples of a step.

        Args:
            weights: float32 `[N]`.
            step: its number, from 0.

        Returns:
            The losses by name, and the gradient, float32 `[N]`.
        """
        ...


class SearchLoop:
    """Iterates over the steps of a search, and gives their gradients."""

    def __init__(
        self,
        objective: Objective,
        total: int,
        on_progress: OnProgress | None = None,
        stage: str = "search",
        kept: KeptSearch | None = None,
    ) -> None:
        """Prepare the steps; none is taken yet.

        Args:
            objective: the loss.
            total: number of steps.
            on_progress: called after each step.
            stage: what the steps are called there.
            kept: the checkpoint of this search; None for none.
        """
        self.objective, self.total, self.kept = objective, total, kept
        self.on_progress, self.stage = on_progress, stage
        self.dropped = torch.zeros((), dtype=torch.int64, device=objective.theta.device)

    def remaining(self, **state: Tensor) -> Iterator[int]:
        """Yield the numbers of the steps that are left, and keep checkpoints between them.

        Args:
            state: all that a step leaves to the next, changed in place: what a checkpoint keeps.

        Raises:
            InputError: the checkpoint cannot be resumed from.
        """
        whole = {**state, "dropped": self.dropped}
        done = self.kept.restore(whole, self.total) if self.kept else 0
        for step in range(done, self.total):
            yield step
            if self.kept and (step + 1) % self.kept.checkpoint.every == 0:
                self.kept.save(step + 1, whole)

    def score(self, weights: Tensor, step: int) -> Tensor:
        """Return theta * dL_con/dtheta of one step, float32 `[N]`; see `gradient`."""
        return self.objective.theta * self.gradient(weights, step)

    def gradient(self, weights: Tensor, step: int) -> Tensor:
        """Return dL_con/dtheta of one step, float32 `[N]`; zeros if it was not finite.

        Raises:
            ConesError: more than `MAX_DROPPED` of all steps were not finite.
        """
        losses, gradient = self.objective.gradient(weights, step)
        finite = torch.stack([*losses.values()]).isfinite().all() & gradient.isfinite().all()
        self.dropped += ~finite
        last = step + 1 == self.total
        read = gradient.device.type == "cpu" or (step + 1) % READ_EVERY == 0 or last
        if self.on_progress is not None:
            figures = {name: each.item() for name, each in losses.items()} if read else {}
            self.on_progress(self.stage, step + 1, self.total, figures)
        if read and self.dropped > MAX_DROPPED * self.total:
            raise ConesError(
                f"{self.stage}: {int(self.dropped)} of {self.total} batches gave NaN or infinity, "
                f"more than {MAX_DROPPED:.0%}; use --mixed_precision no, and check the base model"
            )
        return torch.where(finite, gradient, 0.0)
