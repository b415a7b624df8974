"""What Cones and its rivals have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from cones.sampling.artifact import Artifact
from cones.search.config import LossConfig

JOINTLY = "all subjects trained jointly; steps times their number, samples of each divided by it"
WARM_UP = 10  # steps of the optimiser, until its full rate


@dataclass(frozen=True)
class Method:
    """One way to make a model draw subjects.

    Attributes:
        name: its module, its name on the command line and the `method` of its artifacts.
        title: what tables call it.
        how: what it does with several subjects, for the notes of tables.
        defaults: its configuration, a frozen dataclass.
        fit: `(backbone, subjects, config, class_images=None, on_progress=None)` -> the artifact of
            one subject, or of several that are trained together; see `cones.methods.registry.fit`.
        combine: puts artifacts of subjects that were fitted alone together; None where all subjects
            of a group are trained together.
    """

    name: str
    title: str
    how: str
    defaults: Any
    fit: Callable[..., Artifact]
    combine: Callable[[Sequence[Any]], Artifact] | None = None


@dataclass(frozen=True, kw_only=True)
class RivalConfig(LossConfig):
    """How to train; each method's file has its own defaults.

    Each step is on a batch of every subject and of every class, `prior_batch=0` for no prior. The
    rate is AdamW's, reached after `WARM_UP` steps.
    """

    MIN_PRIOR_BATCH: ClassVar[int] = 0

    batch: int = 4
    prior_batch: int = 4
    prior_weight: float = 1.0
    prior_images: int = 64

    def shared(self, count: int) -> Self:
        """For `count` subjects trained jointly: each is seen as often as alone, at least."""
        share = {name: -(-getattr(self, name) // count) for name in ("batch", "prior_batch")}
        return replace(self, steps=self.steps * count, **share)
