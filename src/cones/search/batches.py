"""Which samples a step sees: the one place that says so, for searches, tunings and trainings.

Each step draws with a generator of its own, so that its samples depend on the seed and its number
alone, not on the steps before it, the device or the number of processes. Steps are numbered from 0;
far behind those that any search takes lie the numbers of the batches that are held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cones.distributed import ALONE, Processes
from cones.models.backbone import Backbone
from cones.search import loss
from cones.search.config import FindConfig, TuneConfig
from cones.subjects.subject import Batch, Examples, joined

HELD_OUT = 1_000_000  # the first step number of the batches that are held out
HELD_OUT_BATCHES = 4  # for each subject
PRIOR = 500_000  # is added to a step's number for the generator of its prior
PRIOR_BATCHES = 16  # different ones with distillation, for each subject


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the generator of a step's samples, on the CPU: the same on every device."""
    return torch.Generator().manual_seed(seed * 2_000_003 + step)


def held_out_steps(subjects: int = 1) -> range:
    """Return the numbers of the steps whose samples are held out, for some number of subjects."""
    return range(HELD_OUT, HELD_OUT + HELD_OUT_BATCHES * subjects)


@dataclass(frozen=True)
class StepBatch:
    """What the loss is computed on in one step, or this process's share of it.

    Attributes:
        batch: the subject's samples, then those of the prior.
        target: what the model should predict on each, float32, like the latents.
        num_subject: how many are the subject's.
        sizes: samples of the subject and of the prior in all processes together.
    """

    batch: Batch
    target: Tensor
    num_subject: int
    sizes: tuple[int, int]


class Batches:
    """The samples of each step of a search for one subject or several.

    Several subjects take turns: step k is about subject k modulo their number. Several processes
    share the samples of each step: every process draws them all and takes its share.
    """

    def __init__(
        self,
        backbone: Backbone,
        subjects: Sequence[Examples],
        priors: Sequence[Examples],
        config: FindConfig | TuneConfig,
        processes: Processes = ALONE,
    ) -> None:
        """Keep what is drawn from.

        Args:
            backbone: the frozen model.
            subjects: examples of each subject.
            priors: examples of each subject's prior.
            config: sizes of the batches, the seed, and whether the prior is distilled.
            processes: those that share the samples.
        """
        self.backbone, self.config, self.processes = backbone, config, processes
        self.subjects, self.priors = subjects, priors
        self._distilled: dict[int, tuple[Batch, Tensor]] = {}

    def draw(self, step: int) -> StepBatch:
        """Draw the samples of a step."""
        subject = self._draw(self.subjects, self.config.batch, step)[self.processes.share()]
        prior, prior_target = self._prior(step)
        target = torch.cat([loss.target(self.backbone, subject), prior_target])
        sizes = self.config.batch, self.config.prior_batch
        return StepBatch(joined([subject, prior]), target, len(subject), sizes)

    @cached_property
    def held_out(self) -> list[tuple[int, StepBatch]]:
        """Each subject's number with samples on noise that no step of a search sees."""
        count = len(self.subjects)
        return [(step % count, self.draw(step)) for step in held_out_steps(count)]

    def _draw(self, examples: Sequence[Examples], count: int, step: int, first: int = 0) -> Batch:
        generator = step_generator(self.config.seed, first + step)
        return examples[step % len(examples)].draw(count, self.backbone.timesteps, generator)

    def _prior(self, step: int) -> tuple[Batch, Tensor]:
        """Draw the prior's samples of a step, with what the model should predict on them.

        Distillation takes one more forward pass, by the base model. So the same `PRIOR_BATCHES`
        batches return in turn, and the base model predicts on each only once.
        """
        distilled = bool(self.config.distill)
        if distilled and step < HELD_OUT:
            step %= PRIOR_BATCHES * len(self.subjects)
        if step in self._distilled:
            return self._distilled[step]
        prior = self._draw(self.priors, self.config.prior_batch, step, first=PRIOR)
        prior = prior[self.processes.share(after=self.config.batch)]
        target = loss.own_prediction if distilled and len(prior) else loss.target
        found = prior, target(self.backbone, prior)
        if distilled:
            self._distilled[step] = found
        return found
