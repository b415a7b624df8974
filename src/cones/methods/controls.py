"""Masks chosen in other ways: what concept neurons must be better than.

Random and magnitude masks know nothing of the subject; that of Concept Neuron Selection does.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from cones.checks import MAX_SEED, check_count, check_density
from cones.methods.trainable import trainable_copies
from cones.models.backbone import Backbone, check_differentiable
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.projections import Layers, model_name, parameters, projections, shapes
from cones.neurons.shutting import base_fingerprint
from cones.sampling.generate import generate
from cones.search import loss
from cones.search.gradstats import GradientStats
from cones.search.objective import check_subjects
from cones.search.prior import GUIDANCE, MAX_GENERAL, STEPS, general_prompts
from cones.search.selection import neuron_count, split_by_layer, top
from cones.subjects.subject import Batch, Examples, Subject

BATCHES, BATCH = 32, 8  # of statistics, for the subject and again for other things


def random_neurons(
    model: object, subject: SubjectInfo, density: float, seed: int, layers: Layers = "all"
) -> ConceptNeurons:
    """Weights drawn at random, all equally likely.

    Args:
        model: a denoiser, a diffusers pipeline or a backbone.
        subject: whose token the mask is to be tried with.
        density: share of the weights to shut, in (0, 1).
        seed: of the drawing.
        layers: see `cones.neurons.projections.projections`.

    Raises:
        InputError: the density is out of range.
    """
    generator = torch.Generator().manual_seed(check_count("seed", seed, 0, MAX_SEED))

    def scores(theta: Tensor) -> Tensor:
        return torch.rand(len(theta), generator=generator, dtype=torch.float64)

    info = {"algorithm": "random", "seed": str(seed)}
    return _control(model, subject, density, layers, scores, info)


def magnitude_neurons(
    model: object,
    subject: SubjectInfo,
    density: float,
    largest: bool = True,
    layers: Layers = "all",
) -> ConceptNeurons:
    """The weights with the largest |theta|, or those with the smallest.

    Args:
        model: a denoiser, a diffusers pipeline or a backbone.
        subject: whose token the mask is to be tried with.
        density: share of the weights to shut, in (0, 1).
        largest: False for the smallest.
        layers: see `cones.neurons.projections.projections`.

    Raises:
        InputError: the density is out of range.
    """
    info = {"algorithm": "largest" if largest else "smallest"}

    def scores(theta: Tensor) -> Tensor:
        return theta.abs() if largest else -theta.abs()

    return _control(model, subject, density, layers, scores, info)


def cns_neurons(
    backbone: Backbone, subject: Subject, density: float, seed: int = 0, layers: Layers = "all"
) -> ConceptNeurons:
    """Weights that matter for the subject but not in general, as in CNS (arXiv 2510.02296).

    A weight matters by its mean |theta * dL/dtheta|. The `density` of all weights that matter most
    for prompts of other things are left out. (CNS goes on to tune the weights that it selects; here
    they are shut, as every control is.)

    Args:
        backbone: the base model, which stays as it is.
        subject: its photographs and words.
        density: share of the weights to shut, in (0, 1).
        seed: of the batches, and of the pictures of other things, which the model draws.
        layers: see `cones.neurons.projections.projections`.

    Raises:
        InputError: the density is out of range, or the token cannot carry a subject.
    """
    density, seed = check_density(density), check_count("seed", seed, 0, MAX_SEED)
    check_subjects(backbone, [subject])
    general = general_prompts(backbone, subject.class_noun, MAX_GENERAL)
    drawn = generate(backbone, general, [seed], steps=STEPS, guidance=GUIDANCE)
    others = Examples.of(
        backbone, [picture.image for picture in drawn], [[text] for text in general]
    )
    scores = importance(backbone, Examples.of_subject(backbone, subject), seed, layers)
    common = top(importance(backbone, others, seed, layers), neuron_count(density, len(scores)))
    scores[common] = -1.0  # below all others
    info = {"algorithm": "cns", "seed": str(seed)}
    return _control(backbone, subject.info, density, layers, lambda _: scores, info)


def importance(backbone: Backbone, examples: Examples, seed: int, layers: Layers = "all") -> Tensor:
    """The mean |theta * dL/dtheta| of each weight, L the denoising loss.

    Args:
        backbone: the base model, which stays as it is.
        examples: latents and prompts' states that batches are drawn from.
        seed: of the batches.
        layers: see `cones.neurons.projections.projections`.

    Returns:
        float32 `[N]`.
    """
    check_differentiable(backbone)
    with Block(backbone):
        copies = trainable_copies(projections(backbone, layers))
    stats = GradientStats.zeros(sum(copy.numel() for copy in copies.values()), backbone.device)
    generator = torch.Generator().manual_seed(seed)

    def gradients_on(batch: Batch) -> tuple[Tensor, ...]:
        prediction = loss.predict(backbone, batch)
        error = loss.squared_error(prediction, loss.target(backbone, batch)).mean()
        return torch.autograd.grad(error * loss.LOSS_SCALE, list(copies.values()))

    for _ in range(BATCHES):
        batch = examples.draw(BATCH, backbone.timesteps, generator)
        gradients = backbone.call_with(parameters(copies), partial(gradients_on, batch))
        pairs = zip(copies.values(), gradients, strict=True)
        scores = [(copy.detach() * gradient).abs().flatten() for copy, gradient in pairs]
        stats.update(torch.cat(scores) / loss.LOSS_SCALE)
    return stats.mean


def _control(
    model: object,
    subject: SubjectInfo,
    density: float,
    layers: Layers,
    scores: Callable[[Tensor], Tensor],
    info: dict[str, str],
) -> ConceptNeurons:
    with Block(model):
        weights = projections(model, layers)
        theta = torch.cat([weight.detach().float().flatten() for weight in weights.values()])
    chosen = top(scores(theta), neuron_count(density, len(theta)))
    return ConceptNeurons(
        shapes=shapes(weights),
        indices=split_by_layer(chosen, shapes(weights)),
        subjects=(subject,),
        base=BaseInfo(model_name(model), base_fingerprint(model)),
        info=info,
    )
