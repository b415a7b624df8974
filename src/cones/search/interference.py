"""Several subjects in one model: the union of their neurons, and what each loses in it."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from cones.checks import MAX_SEED, check_count
from cones.errors import InputError
from cones.models.backbone import Backbone
from cones.models.finite import require_finite
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons
from cones.neurons.overlap import PairOverlap, pairwise, words
from cones.neurons.shutting import matching_weights, shut
from cones.neurons.union import (
    Neurons,
    all_subjects,
    different,
    neuron_sets,
    repeated,
    strength_warning,
    union,
)
from cones.progress import OnProgress
from cones.search import loss
from cones.search.batches import held_out_steps, step_generator
from cones.search.objective import check_subjects
from cones.subjects.subject import Batch, Examples, Subject, many_subjects_warning

log = logging.getLogger("cones")

LEAST_KEPT = 0.5  # share of its own gain below which a subject is likely to be lost
BATCH = 8


@dataclass(frozen=True)
class Kept:
    """What is left of a subject's gain in the union: its loss on held-out noise, without the prior.

    Attributes:
        phrase: how prompts name it: "sks robot".
        base: the loss with nothing shut.
        alone: with the neurons of its own file.
        union: with those of all files.
        clash: where too little is kept, the subjects of the file without which most would be.
        gain_se: standard error of base - alone over the samples; both are of the same noise.
    """

    phrase: str
    base: float
    alone: float
    union: float
    clash: str | None = None
    gain_se: float = 0.0

    @property
    def share(self) -> float | None:
        """(base - union) / (base - alone), and 0 where the union is worse than nothing shut.

        None if its own neurons gain nothing that can be told from chance.
        """
        gain = self.base - self.alone
        return max(0.0, self.base - self.union) / gain if gain > 2 * self.gain_se else None

    @property
    def lost(self) -> bool:
        """Whether too little is kept."""
        return self.share is not None and self.share < LEAST_KEPT


@dataclass(frozen=True)
class Interference:
    """How much several sets of neurons get into each other's way.

    Attributes:
        pairs: what each two sets have in common, against chance.
        kept: what each photographed subject keeps in the union.
    """

    pairs: tuple[PairOverlap, ...]
    kept: tuple[Kept, ...] = ()

    def remarks(self) -> list[str]:
        """Return what to do about it, one line each."""
        found = []
        for each in self.kept:
            if each.share is None:
                found.append(
                    f"'{each.phrase}': its own neurons do not clearly lower its loss; find them "
                    "again, or give its own photographs"
                )
            elif each.lost:
                found.append(
                    f"'{each.phrase}' keeps {each.share:.0%} of what its own neurons gain "
                    f"and clashes most with '{each.clash}'; search them together with cones find, "
                    "--images, --class_noun and --token once for each"
                )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON types."""
        return {
            "pairs": [pair.as_dict() for pair in self.pairs],
            "kept": [{**vars(each), "share": each.share} for each in self.kept],
            "remarks": self.remarks(),
        }


def combine(sets: Iterable[Neurons]) -> ConceptNeurons:
    """Unite the neurons of several subjects, and warn of what seems unintended.

    Args:
        sets: of different subjects, each as it is or by the path of its file.

    Raises:
        InputError: as for `cones.neurons.union.union`, or a token of two sets.
        BaseModelError: the sets are of differently shaped models.

    Warns:
        BaseModelWarning: they are of models of one layout with different weights.
    """
    sets = neuron_sets(sets)
    united, subjects = union(sets), all_subjects(sets)
    for remark in filter(
        None, [many_subjects_warning(len(subjects)), strength_warning(sets), repeated(sets)]
    ):
        log.warning(remark)
    return united


def interference(
    backbone: Backbone | None,
    sets: Iterable[Neurons],
    subjects: Sequence[Subject] = (),
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Interference:
    """Measure what to expect of a union, before anything is drawn with it.

    Args:
        backbone: the base model, for the losses; None serves without photographs.
        sets: of different subjects.
        subjects: with their photographs, by the tokens of the sets; some or all.
        seed: of the noise.
        on_progress: called after each subject.

    Raises:
        InputError: `combine` refuses the sets, a subject's token is of none of them, or it has
            photographs but no backbone.
        BaseModelError: the neurons are of a model of another layout.

    Warns:
        BaseModelWarning: they are of a model of this layout with other weights.
    """
    seed = check_count("seed", seed, 0, MAX_SEED)
    known = different(neuron_sets(sets))
    tokens = [each.token for each in all_subjects(known)]
    for subject in subjects:
        if subject.token not in tokens:
            raise InputError(
                f"token {subject.token!r}: no neurons are of it; expected one of "
                f"{', '.join(tokens)}"
            )
    if not subjects:
        return Interference(tuple(pairwise(known)))
    if backbone is None:
        raise InputError("backbone: photographs need a model to measure with; give one")
    check_subjects(backbone, subjects)
    for each in known:
        matching_weights(backbone, each)
    known = [replace(each, base=BaseInfo()) for each in known]  # no more warnings of their bases
    kept = []
    for number, subject in enumerate(subjects):
        kept.append(_kept(backbone, known, subject, seed))
        if on_progress is not None:
            on_progress("measure", number + 1, len(subjects), {})
    return Interference(tuple(pairwise(known)), tuple(kept))


def _kept(backbone: Backbone, sets: Sequence[ConceptNeurons], subject: Subject, seed: int) -> Kept:
    (own,) = (each for each in sets if subject.token in {s.token for s in each.subjects})
    batches = _held_out(backbone, subject, seed)
    base, alone, union = (_errors(backbone, batches, each) for each in ([], [own], sets))
    gain_se = (base - alone).std().item() / math.sqrt(len(base))
    losses = [float(errors.mean()) for errors in (base, alone, union)]
    kept = Kept(subject.phrase, losses[0], losses[1], losses[2], gain_se=gain_se)
    if not kept.lost:
        return kept
    others = [each for each in sets if each is not own]
    worst = min(
        others,
        key=lambda other: _errors(backbone, batches, [s for s in sets if s is not other]).mean(),
    )
    return replace(kept, clash=words(worst))


def _held_out(backbone: Backbone, subject: Subject, seed: int) -> list[Batch]:
    """Draw batches on noise that no step of a search sees."""
    examples = Examples.of_subject(backbone, subject)
    generators = [step_generator(seed, step) for step in held_out_steps()]
    return [examples.draw(BATCH, backbone.timesteps, each) for each in generators]


@torch.no_grad()
def _errors(
    backbone: Backbone, batches: Sequence[Batch], sets: Sequence[ConceptNeurons]
) -> torch.Tensor:
    """Return the squared error of each sample with some sets shut, finite, float32 `[n]`."""
    with shut(backbone, sets) if sets else Block(backbone):
        errors = [
            loss.squared_error(loss.predict(backbone, batch), loss.target(backbone, batch))
            for batch in batches
        ]
    found = torch.cat(errors)
    require_finite(backbone.pipeline, "the held-out losses", found, "load the model in float32")
    return found
