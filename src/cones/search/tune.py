"""Joint tuning: the values of concept neurons that draw all their subjects best, and nothing else.

The paper's four precisions: binary stores no values, and only the choice of the neurons may change;
quaternary, float16 and float32 store a value for each neuron.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from cones.checks import check_kind
from cones.errors import ConesError, InputError
from cones.models.backbone import Backbone, check_backbone
from cones.neurons import quaternary
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import neurons_hash
from cones.neurons.projections import Layers, projections
from cones.neurons.shutting import matching_weights
from cones.neurons.union import Neurons, union
from cones.progress import Figures, OnProgress
from cones.search.algorithms import mask_in_the_loop
from cones.search.calibration import held_out, total_loss
from cones.search.config import Precision, TuneConfig
from cones.search.loop import SearchLoop
from cones.search.objective import ImplantingLoss, check_subjects
from cones.search.prior import ClassImages
from cones.search.selection import flatten_positions, split_by_layer, top
from cones.subjects.subject import Subject


def tune(
    backbone: Backbone,
    neurons: Neurons | Iterable[Neurons],
    subjects: Subject | Sequence[Subject],
    config: TuneConfig = TuneConfig(),
    class_images: ClassImages | None = None,
    on_progress: OnProgress | None = None,
) -> ConceptNeurons:
    """Tune the values of concept neurons to minimise the sum of their subjects' losses.

    The tuning begins with the values that the neurons recommend. The model's weights are never
    changed, and no weight but the neurons is given a value. On the CPU of one machine the same seed
    gives the same values.

    Args:
        backbone: the base model.
        neurons: of one subject or of several, which are united, shut or tuned before; as they are
            or by the path of their file.
        subjects: photographs of exactly the neurons' subjects, in any order.
        config: how to tune.
        class_images: images of a class for the prior, by its noun; the model draws the others.
        on_progress: called as the tuning goes on.

    Returns:
        The neurons with values that the file keeps exactly, and strength 1; for "binary" as many
        without values, and strength 1 or 2. `info["report"]` is JSON: the losses of each subject,
        by token, on held-out noise "before" and "after".

    Raises:
        InputError: no neurons, or not the photographs of exactly their subjects.
        BaseModelError: the neurons are of a model of another layout.
        ConesError: batches gave NaN or infinity.
    """
    check_backbone(backbone)
    check_kind("config", config, TuneConfig, "a TuneConfig")
    neurons = union(neurons)
    objective = joint_loss(backbone, neurons, subjects, config, class_images, on_progress)
    return tune_on(objective, neurons, config, on_progress)


def joint_loss(
    backbone: Backbone,
    neurons: ConceptNeurons,
    subjects: Subject | Sequence[Subject],
    config: TuneConfig = TuneConfig(),
    class_images: ClassImages | None = None,
    on_progress: OnProgress | None = None,
) -> ImplantingLoss:
    """Return the loss of all subjects of some neurons, in the neurons' order; see `tune`."""
    matching_weights(backbone, neurons)
    subjects = _matched(backbone, neurons, subjects)
    with Block(backbone):
        text = neurons.shapes.keys() <= projections(backbone).keys()
    layers: Layers = "text" if text else "all"
    return ImplantingLoss.of(backbone, subjects, config, layers, class_images, on_progress)


def tune_on(
    objective: ImplantingLoss,
    neurons: ConceptNeurons,
    config: TuneConfig,
    on_progress: OnProgress | None = None,
) -> ConceptNeurons:
    """`tune` on a `joint_loss`, which serves for several precisions, rates and numbers of steps."""
    loop = SearchLoop(objective, config.steps * objective.num_subjects, on_progress, "tune")
    at = flatten_positions(neurons.indices, objective.shapes).to(objective.theta.device)
    start = _recommended(objective, neurons, at)
    if config.precision == "binary":
        chosen, strength = _reselected(objective, at, neurons.strength, loop, config.rate)
        tuned = replace(
            neurons,
            indices=split_by_layer(chosen, objective.shapes),
            values=None,
            strength=strength,
        )
        after = _with(objective.theta, chosen, objective.theta[chosen] * (1 - strength))
    else:
        sizes = [len(neurons.indices[layer]) for layer in objective.shapes]
        values = _tuned(objective, at, sizes, start, loop, config)
        after = _with(objective.theta, at, values)
        parts = [part.cpu().numpy() for part in torch.split(values, sizes)]
        tuned = replace(
            neurons, values=dict(zip(objective.shapes, parts, strict=True)), strength=1.0
        )
    losses = {
        "before": _losses(objective, neurons, _with(objective.theta, at, start)),
        "after": _losses(objective, neurons, after),
    }
    told = [*losses["before"].values(), *losses["after"].values()]
    if not all(math.isfinite(sum(figures.values())) for figures in told):
        raise ConesError(
            "tune: the loss is NaN or infinite at the tuned values; use --mixed_precision no, or "
            "a smaller --rate"
        )
    return replace(tuned, info=_info(objective.backbone, neurons, config, losses))


def _matched(
    backbone: Backbone, neurons: ConceptNeurons, subjects: Subject | Sequence[Subject]
) -> list[Subject]:
    """Return the subjects in the order of the neurons'; refuse others."""
    given = [subjects] if isinstance(subjects, Subject) else list(subjects)
    if not len(neurons):
        raise InputError("neurons: expected at least one to tune, found none; find some first")
    check_subjects(backbone, given)
    by_phrase = {subject.phrase: subject for subject in given}
    wanted = [subject.phrase for subject in neurons.subjects]
    for phrase in wanted:
        if phrase not in by_phrase:
            raise InputError(
                f"subjects: expected {phrase!r}, which is of the neurons, found "
                f"{', '.join(map(repr, by_phrase))}; give its photographs too"
            )
    for phrase in by_phrase:
        if phrase not in wanted:
            raise InputError(
                f"subjects: {phrase!r} is not of the neurons ({', '.join(wanted) or 'not named'}); "
                "find its neurons and unite them first, or leave it out"
            )
    return [by_phrase[phrase] for phrase in wanted]


def _recommended(objective: ImplantingLoss, neurons: ConceptNeurons, at: Tensor) -> Tensor:
    """Return the values that shutting by the neurons' own strength gives, float32 `[n]`."""
    original = objective.theta[at]
    if neurons.values is None:
        return original * (1 - neurons.strength)
    values = np.concatenate([neurons.values[layer] for layer in objective.shapes])
    return torch.lerp(original, torch.from_numpy(values).to(original), neurons.strength)


def _tuned(
    objective: ImplantingLoss,
    at: Tensor,
    sizes: list[int],
    start: Tensor,
    loop: SearchLoop,
    config: TuneConfig,
) -> Tensor:
    """Return the tuned values, float32 `[n]`, rounded as they will be stored.

    The loss is that of the rounded values, and its gradient goes straight through to the others.

    Args:
        objective: the loss.
        at: positions of the neurons, int64 `[n]`.
        sizes: number of neurons in each layer.
        start: the values to begin with, float32 `[n]`.
        loop: gives the gradients.
        config: steps, rate and precision.
    """
    count = objective.num_subjects
    means = [w.square().mean().sqrt() for w in objective.unflatten(objective.theta).values()]
    scale = torch.stack(means).repeat_interleave(torch.tensor(sizes, device=at.device))
    rounded = _rounding(config.precision, sizes)
    moved = torch.zeros_like(start)  # in units of the scale
    adam = torch.optim.Adam([moved], config.rate, betas=(0.9, 0.99), eps=1e-12)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    for step in range(config.steps):
        weights = _with(objective.theta, at, rounded(start + scale * moved))
        turns = range(step * count, (step + 1) * count)
        gradient = sum(loop.gradient(weights, turn)[at] for turn in turns)
        moved.grad = scale * gradient
        adam.step()
        schedule.step()
    return rounded(start + scale * moved)


def _rounding(precision: Precision, sizes: list[int]) -> Callable[[Tensor], Tensor]:
    """Return what turns values, float32 `[n]`, into those that are stored."""

    def to_levels(values: Tensor) -> Tensor:
        parts = [quaternary.nearest(part.cpu().numpy()) for part in torch.split(values, sizes)]
        return torch.from_numpy(np.concatenate(parts)).to(values.device)

    if precision == "quaternary":
        return to_levels
    return (lambda values: values.half().float()) if precision == "float16" else torch.clone


def _reselected(
    objective: ImplantingLoss, at: Tensor, strength: float, loop: SearchLoop, rate: float
) -> tuple[Tensor, float]:
    """Search as many neurons from those given; zero or flip them, whichever is better.

    Args:
        objective: the loss.
        at: positions of the neurons before, int64 `[n]`.
        strength: which they recommend.
        loop: gives the gradient of each step.
        rate: Adam's.

    Returns:
        The positions, int64 `[n]`, and the strength.
    """
    in_loop = 2.0 if strength > 1.5 else 1.0
    scores = mask_in_the_loop(objective, len(at), loop, rate, in_loop, at)
    chosen = top(scores, len(at))

    def loss(factor: float) -> float:
        return total_loss(objective, held_out(objective, chosen, factor))

    return chosen, min((1.0, 2.0), key=loss)


def _with(theta: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Return the weights with other values at some positions."""
    return theta.index_put((at,), values)


def _losses(
    objective: ImplantingLoss, neurons: ConceptNeurons, weights: Tensor
) -> dict[str, Figures]:
    """Return the losses of each subject on held-out noise, by token."""
    return {
        subject.token: objective.held_out(weights, number)
        for number, subject in enumerate(neurons.subjects)
    }


def _info(
    backbone: Backbone,
    neurons: ConceptNeurons,
    config: TuneConfig,
    losses: dict[str, dict[str, Figures]],
) -> dict[str, str]:
    """Return where the values come from; "start" is the hash of the file of the neurons before."""
    provenance = backbone.provenance()
    return {
        "algorithm": "tune",
        "config": json.dumps(asdict(config), sort_keys=True),
        "seed": str(config.seed),
        "start": neurons_hash(neurons),
        "precision": f"{config.precision}; {provenance['precision']}",
        "report": json.dumps(losses, sort_keys=True),
        "versions": provenance["versions"],
    }
