"""How long work reports itself: the one callback that searches, trainings and drawings call."""

from collections.abc import Mapping
from typing import Protocol

Figures = Mapping[str, float]


class OnProgress(Protocol):
    """What long work calls after each of its steps; the caller shows a bar, or logs."""

    def __call__(self, stage: str, done: int, total: int, figures: Figures, /) -> None:
        """Report one step.

        Args:
            stage: what is being done, e.g. "search" or "draw the class".
            done: steps of this stage that are done, from 1 to `total`.
            total: steps of this stage.
            figures: the losses of this step, by name; empty where it has none.
        """
