"""From a subject's photographs to its concept neurons: the whole algorithm on one screen."""

import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial

import torch
from torch import Tensor

from cones.checks import check_density
from cones.distributed import ALONE, Processes
from cones.errors import InputError
from cones.models.backbone import Backbone, check_backbone
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons
from cones.neurons.projections import projections, shapes
from cones.neurons.shutting import base_fingerprint, matching_weights
from cones.neurons.union import Neurons, union
from cones.progress import OnProgress
from cones.search import algorithms as search
from cones.search.calibration import Choice, least_needed, line_search
from cones.search.checkpoint import Checkpoint, KeptSearch
from cones.search.config import DENSITIES, FindConfig
from cones.search.identity import identity, model_identity
from cones.search.loop import SearchLoop
from cones.search.objective import ImplantingLoss, check_subjects
from cones.search.prior import ClassImages, DrawnImages
from cones.search.reconstruction import Matrix, reconstruct
from cones.search.selection import flatten_positions, neuron_count, split_by_layer, top
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
    """Finds the concept neurons of a subject, or those that draw several subjects together.

    The model's weights are never changed. On the CPU of one machine the same seed gives the same
    neurons. Several subjects take turns in one search, with `config.density` and `config.steps` for
    each: as many neurons and as much time as a search for each alone would find and take.

    Args:
        backbone: the base model.
        subjects: photographs, class noun and token of each.
        config: how to search.
        class_images: images of a class for the prior, by its noun; the model draws the others.
        on_progress: called with (stage, done, total, figures) as the search goes on.
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
            be, the model is of a kind not served, or the checkpoint is of another search.
        BaseModelError: `start` is of another model.
        ConesError: too many batches gave NaN or infinity, or another process has ended.
    """
    check_backbone(backbone)
    subjects = [subjects] if isinstance(subjects, Subject) else list(subjects)
    check_subjects(backbone, subjects)
    check_density(config.max_density, max(1, len(subjects)))
    if start is not None:
        start = _start(backbone, union(start), config)
    if remark := many_subjects_warning(len(subjects)):
        log.warning(remark)
    for subject in subjects:
        if remark := backbone.ordinary_warning(subject.token):
            log.warning(remark)
    with ExitStack() as stack:
        kept = None
        if checkpoint is not None:
            own = identity(
                "find", model_identity(backbone), subjects, config, class_images, start, processes
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
        choice = _search(objective, count, config, on_progress, start, kept)
    if config.density == "auto":
        counts = [_count(objective, density) for density in DENSITIES]
        count = least_needed(objective, choice, counts, config.strength_in_loop, on_progress)
    chosen = choice(count)
    strength, report = line_search(objective, chosen, config.strength_in_loop, on_progress)
    return ConceptNeurons(
        shapes=objective.shapes,
        indices=split_by_layer(chosen, objective.shapes),
        subjects=tuple(each.info for each in subjects),
        strength=strength,
        base=BaseInfo(backbone.name, base_fingerprint(backbone)),
        info=_info(backbone, config, report),
    )


def _start(backbone: Backbone, start: ConceptNeurons, config: FindConfig) -> ConceptNeurons:
    """`start` over the layers that are searched."""
    if config.algorithm != "mask-in-loop":
        raise InputError(
            f"start: only mask-in-loop begins with neurons, found {config.algorithm}; leave one out"
        )
    matching_weights(backbone, start)
    with Block(backbone):
        sought = shapes(projections(backbone, config.layers))
    for layer, indices in start.indices.items():
        if len(indices) and layer not in sought:
            raise InputError(
                f"start: has neurons in {layer}, where layers={config.layers!r} does not search; "
                "expected 'all'"
            )
    within = {layer: start.indices[layer] for layer in start.indices.keys() & sought.keys()}
    return replace(start, shapes=sought, indices=within, values=None)


def _count(objective: ImplantingLoss, density: float) -> int:
    """Neurons for all subjects together."""
    return neuron_count(density, len(objective.theta), objective.num_subjects)


def _search(
    objective: ImplantingLoss,
    count: int,
    config: FindConfig,
    on_progress: OnProgress | None,
    start: ConceptNeurons | None,
    kept: KeptSearch | None,
) -> Choice:
    """Searches for `count` neurons; what it learned can choose fewer as well."""
    total = config.steps * objective.num_subjects
    steps = SearchLoop(objective, total, on_progress, kept=kept)
    if config.algorithm == "reconstruct":
        size = objective.theta.square().mean().sqrt().item()
        weights, squares = search.fine_tuned(objective, steps, config.rate * size)
        return _compiled(objective, weights, squares, config.strength_in_loop)
    if config.algorithm == "one-pass":
        votes = search.one_pass(objective, steps)
    elif config.algorithm == "paper":
        votes = search.paper(objective, steps, config.rho)
    else:
        begun = None
        if start is not None:
            begun = flatten_positions(start.indices, objective.shapes).to(objective.theta.device)
        votes = search.mask_in_the_loop(
            objective, count, steps, config.rate, config.strength_in_loop, begun
        )
    return partial(top, votes)


def _compiled(
    objective: ImplantingLoss, weights: Tensor, squares: Tensor, strength: float
) -> Choice:
    """Chooses the positions whose shutting does what the fine-tuned weights do.

    How much an output matters is told by the mean square of its gradient, for which that of its
    row of weights stands.
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

    def choice(count: int) -> Tensor:
        masks = reconstruct(matrices, count, strength)
        return torch.cat([mask.flatten() for mask in masks]).nonzero().flatten()

    return choice


def _info(backbone: Backbone, config: FindConfig, report: dict[str, object]) -> dict[str, str]:
    """Where the neurons come from."""
    return {
        "algorithm": config.algorithm,
        "config": json.dumps(asdict(config), sort_keys=True),
        "seed": str(config.seed),
        **backbone.provenance(),
        "report": json.dumps(report, sort_keys=True),
    }
