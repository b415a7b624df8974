"""From a subject's photographs to its concept neurons: the whole algorithm on one screen.

What the paper names stands here:
    L_con, the concept-implanting loss      `cones.search.loss`; its samples `cones.search.batches`
    theta * dL_con/dtheta, the scores       `cones.search.loop`, their mean `cones.search.gradstats`
    M, the mask that goes into the loop     `cones.search.algorithms.mask_in_the_loop`
    Algorithm 1                             `cones.search.algorithms.paper`
    tau, the threshold                      `config.density` and `cones.search.selection.top`; the
                                            density "auto" `cones.search.calibration.choose_count`
    how strongly the neurons are shut       `cones.search.calibration.choose_strength`
"""

import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial

from torch import Tensor

from cones.checks import check_kind
from cones.distributed import ALONE, Processes
from cones.errors import InputError
from cones.models.backbone import Backbone, check_backbone
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons
from cones.neurons.projections import projections, shapes
from cones.neurons.shutting import base_fingerprint, matching_weights
from cones.neurons.union import Neurons, union
from cones.progress import OnProgress
from cones.search import algorithms
from cones.search.calibration import choose_count, choose_strength
from cones.search.checkpoint import Checkpoint
from cones.search.config import DENSITIES, FindConfig
from cones.search.identity import identity, model_identity
from cones.search.loop import SearchLoop
from cones.search.objective import ImplantingLoss, check_subjects
from cones.search.prior import ClassImages, DrawnImages
from cones.search.reconstruction import selector
from cones.search.selection import Selector, flatten_positions, neuron_count, split_by_layer, top
from cones.subjects.subject import Subject, many_subjects_warning

log = logging.getLogger("cones")


def find(
    backbone: Backbone,
    subjects: Subject | Sequence[Subject],
    config: FindConfig = FindConfig(),
    class_images: ClassImages | None = None,
    on_progress: OnProgress | None = None,
    start: Neurons | Iterable[Neurons] | None = None,
    checkpoint: Checkpoint | None = None,
    processes: Processes = ALONE,
    drawn: DrawnImages | None = None,
) -> ConceptNeurons:
    """Find the concept neurons of a subject, or those that draw several subjects together.

    The model's weights are never changed. On the CPU of one machine the same seed gives the same
    neurons. Several subjects take turns in one search, with `config.density` and `config.steps` for
    each: as many neurons and as much time as a search for each alone would find and take.

    Args:
        backbone: the base model.
        subjects: photographs, class noun and token of each.
        config: how to search.
        class_images: images of a class for the prior, by its noun; the model draws the others.
        on_progress: called as the search goes on.
        start: neurons to begin with, for "mask-in-loop": the union of those found alone.
        checkpoint: where the search is kept as it goes on, and resumed from.
        processes: those that share the samples of each step; all find the same neurons.
        drawn: images of classes that earlier searches with this seed let this model draw; to it
            are added those that this one does.

    Returns:
        The neurons. `info["report"]` is JSON: losses on held-out noise before and after, and those
        of each strength tried; for several subjects their mean.

    Raises:
        InputError: a token cannot carry a subject or is of two, neurons are asked for that cannot
            be, the kind of model is not supported, or the checkpoint is of another search.
        BaseModelError: `start` is of another model.
        ConesError: too many batches gave NaN or infinity, or another process has ended.
    """
    subjects = _checked_subjects(backbone, subjects, config)
    begun = None if start is None else _checked_start(backbone, union(start), config)
    with ExitStack() as stack:
        kept = None
        if checkpoint is not None:
            own = identity(
                "find", model_identity(backbone), subjects, config, class_images, begun, processes
            )
            kept = stack.enter_context(checkpoint.opened(own))
        objective = ImplantingLoss.of(
            backbone,
            subjects,
            config,
            config.layers,
            class_images,
            on_progress,
            processes,
            drawn,
        )
        count = _count(objective, config.max_density)
        loop = SearchLoop(objective, config.steps * len(subjects), on_progress, kept=kept)
        select = _search(objective, loop, count, config, begun)
    if config.density == "auto":
        counts = [_count(objective, density) for density in DENSITIES]
        count = choose_count(objective, select, counts, config.strength_in_loop, on_progress)
    positions = select(count)
    strength, report = choose_strength(objective, positions, config.strength_in_loop, on_progress)
    return ConceptNeurons(
        shapes=objective.shapes,
        indices=split_by_layer(positions, objective.shapes),
        subjects=tuple(subject.info for subject in subjects),
        strength=strength,
        base=BaseInfo(backbone.name, base_fingerprint(backbone)),
        info=_info(backbone, config, report),
    )


def _search(
    objective: ImplantingLoss,
    loop: SearchLoop,
    count: int,
    config: FindConfig,
    start: ConceptNeurons | None,
) -> Selector:
    """Run the algorithm; what it learned selects up to `count` neurons."""
    if config.algorithm == "reconstruct":
        size = objective.theta.square().mean().sqrt().item()
        weights, squares = algorithms.fine_tune(objective, loop, config.rate * size)
        return selector(objective, weights, squares, config.strength_in_loop)
    if config.algorithm == "one-pass":
        scores = algorithms.one_pass(objective, loop)
    elif config.algorithm == "paper":
        scores = algorithms.paper(objective, loop, config.rho)
    else:
        scores = algorithms.mask_in_the_loop(
            objective,
            count,
            loop,
            config.rate,
            config.strength_in_loop,
            _positions(objective, start),
        )
    return partial(top, scores)


def _count(objective: ImplantingLoss, density: float) -> int:
    """Return the number of neurons for all subjects together."""
    return neuron_count(density, len(objective.theta), objective.num_subjects)


def _positions(objective: ImplantingLoss, start: ConceptNeurons | None) -> Tensor | None:
    """Return the positions of neurons to begin with, int64; None without any."""
    if start is None:
        return None
    return flatten_positions(start.indices, objective.shapes).to(objective.theta.device)


def _checked_subjects(
    backbone: Backbone, subjects: Subject | Sequence[Subject], config: FindConfig
) -> list[Subject]:
    """Return the subjects as a list; refuse and warn before anything is computed."""
    check_backbone(backbone)
    check_kind("config", config, FindConfig, "a FindConfig")
    found = [subjects] if isinstance(subjects, Subject) else list(subjects)
    check_subjects(backbone, found)
    with Block(backbone):
        sizes = shapes(projections(backbone, config.layers)).values()
    neuron_count(config.max_density, sum(out * into for out, into in sizes), len(found))
    warnings = [
        many_subjects_warning(len(found)),
        *(backbone.ordinary_warning(subject.token) for subject in found),
    ]
    for warning in filter(None, warnings):
        log.warning(warning)
    return found


def _checked_start(backbone: Backbone, start: ConceptNeurons, config: FindConfig) -> ConceptNeurons:
    """Return neurons to begin with, over the layers that are searched."""
    if config.algorithm != "mask-in-loop":
        raise InputError(
            f"start: only mask-in-loop begins with neurons, found {config.algorithm}; leave one out"
        )
    matching_weights(backbone, start)
    with Block(backbone):
        searched = shapes(projections(backbone, config.layers))
    for layer, indices in start.indices.items():
        if len(indices) and layer not in searched:
            raise InputError(
                f"start: has neurons in {layer}, where layers={config.layers!r} does not search; "
                "expected 'all'"
            )
    kept = {layer: start.indices[layer] for layer in start.indices.keys() & searched.keys()}
    return replace(start, shapes=searched, indices=kept, values=None)


def _info(backbone: Backbone, config: FindConfig, report: dict[str, object]) -> dict[str, str]:
    """Return where the neurons come from, for their file."""
    return {
        "algorithm": config.algorithm,
        "config": json.dumps(asdict(config), sort_keys=True),
        "seed": str(config.seed),
        **backbone.provenance(),
        "report": json.dumps(report, sort_keys=True),
    }
