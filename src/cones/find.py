"""From a subject's photographs to its concept neurons: the whole algorithm on one screen."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from cones import loss, search
from cones.backbone import Backbone
from cones.errors import ConesError, InputError
from cones.layers import projections, shapes
from cones.neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.prior import draw_class_images, prior_examples
from cones.search import Figures, OnStep, Steps
from cones.selection import by_layer, check_density
from cones.shutting import base_fingerprint
from cones.subject import Batch, Examples, Subject, joined

log = logging.getLogger("cones")

Algorithm = Literal["mask-in-loop", "one-pass", "paper"]
STRENGTHS = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
HELD_OUT = 1_000_000  # step numbers of the batches that no search sees begin here
HELD_OUT_BATCHES = 4
MAX_SEED = 2**40
LOSS_SCALE = 2.0**12  # a power of two: exact, and float16 gradients do not vanish


@dataclass(frozen=True)
class FindConfig:
    """How to search.

    Attributes:
        algorithm: "mask-in-loop" (the default and the best), "one-pass" or "paper".
        density: share of the weights to shut, in (0, 1).
        steps: optimiser steps, or batches of statistics.
        batch: samples of the subject in a step.
        prior_batch: samples of the prior in a step.
        prior_weight: the paper's lambda.
        distill: whether the prior's target is the base model's own prediction, not the noise; None
            for "mask-in-loop" only, since where nothing is shut that prior has no gradient.
        prior_images: images that the model draws of the class, and again of other things.
        rate: of the latents in "mask-in-loop".
        rho: step size of "paper".
        strength_in_loop: of the shutting in "mask-in-loop": 1 sets to zero, 2 flips the sign.
        layers: "text" for the text's key and value projections, "all" for the image's too.
        seed: of everything random, from 0 to 2^40.
    """

    algorithm: Algorithm = "mask-in-loop"
    density: float = 0.05
    steps: int = 100
    batch: int = 8
    prior_batch: int = 8
    prior_weight: float = 1.0
    distill: bool | None = None
    prior_images: int = 16
    rate: float = 0.03
    rho: float = 2e-5
    strength_in_loop: float = 1.0
    layers: Literal["text", "all"] = "text"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be searched with."""
        check_density(self.density)
        if self.distill is None:
            object.__setattr__(self, "distill", self.algorithm == "mask-in-loop")
        if self.algorithm not in ("mask-in-loop", "one-pass", "paper"):
            raise InputError(
                f"algorithm: expected mask-in-loop, one-pass or paper, found {self.algorithm!r}"
            )
        for name in ("steps", "batch", "prior_batch", "prior_images"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if not 0 < self.strength_in_loop <= 2:
            raise InputError(
                f"strength_in_loop: expected more than 0, at most 2, found {self.strength_in_loop}"
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"seed: expected 0 to {MAX_SEED}, found {self.seed}")


class ImplantingLoss:
    """L_con and its gradient as functions of the weights in question; the model is not touched."""

    def __init__(
        self, backbone: Backbone, subject: Examples, prior: Examples, config: FindConfig
    ) -> None:
        """Lays the weights end to end and keeps the examples."""
        self.backbone, self.subject, self.prior, self.config = backbone, subject, prior, config
        weights = projections(backbone, config.layers)
        self.shapes = shapes(weights)
        self.theta = torch.cat([w.detach().float().flatten() for w in weights.values()])

    def batches(self, step: int) -> tuple[Batch, Batch]:
        """The subject's and the prior's samples of a step."""
        generator = torch.Generator().manual_seed(self.config.seed * 2_000_003 + step)
        total, config = self.backbone.timesteps, self.config
        subject = self.subject.draw(config.batch, total, generator)
        return subject, self.prior.draw(config.prior_batch, total, generator)

    def prior_target(self, prior: Batch) -> Tensor:
        """What the prior's predictions should be."""
        if self.config.distill:
            return loss.own_prediction(self.backbone, prior)
        return loss.target(self.backbone, prior)

    def errors(self, weights: Tensor, batches: tuple[Batch, Batch]) -> tuple[Tensor, Tensor]:
        """Each sample's squared error, of the subject and of the prior."""
        subject, prior = batches
        wanted = torch.cat([loss.target(self.backbone, subject), self.prior_target(prior)])
        parts = torch.split(weights, [rows * columns for rows, columns in self.shapes.values()])
        named = {
            layer: part.view(shape)
            for (layer, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
        error = loss.squared_error(loss.predict(self.backbone, joined(batches), named), wanted)
        return error[: len(subject)], error[len(subject) :]

    def gradient(self, weights: Tensor, step: int) -> tuple[Figures, Tensor]:
        """Losses and dL_con/dtheta at `weights`, float32 `[N]`, on the batches of a step."""
        leaf = weights.detach().clone().requires_grad_()
        subject, prior = self.errors(leaf, self.batches(step))
        total = loss.concept_loss(subject, prior, self.config.prior_weight)
        (gradient,) = torch.autograd.grad(total * LOSS_SCALE, leaf)
        figures = {"subject": subject.mean().item(), "prior": prior.mean().item()}
        return figures, gradient / LOSS_SCALE

    @torch.no_grad()
    def held_out(self, weights: Tensor) -> Figures:
        """Both losses on noise that no step of the search sees."""
        steps = range(HELD_OUT, HELD_OUT + HELD_OUT_BATCHES)
        errors = [self.errors(weights, self.batches(step)) for step in steps]
        subject, prior = (torch.cat(parts).mean().item() for parts in zip(*errors, strict=True))
        return {"subject": subject, "prior": prior}


def find(
    backbone: Backbone,
    subject: Subject,
    config: FindConfig = FindConfig(),
    class_images: Sequence[Image.Image] | None = None,
    on_step: OnStep | None = None,
) -> ConceptNeurons:
    """Finds the concept neurons of a subject. The model's weights are never changed.

    On the CPU of one machine the same seed gives the same neurons.

    Args:
        backbone: the base model.
        subject: photographs, class noun and token.
        config: how to search.
        class_images: images of the class for the prior; None lets the model draw them.
        on_step: called with (stage, done, total, figures) as the search goes on.

    Returns:
        The neurons. `info["report"]` is JSON: losses on held-out noise before and after, and those
        of each strength tried.

    Raises:
        InputError: the token cannot carry a subject, or the model is of a kind not served.
        ConesError: too many batches gave NaN or infinity.
    """
    backbone.check_token(subject.token, subject.class_noun)
    rare = backbone.rare_tokens(16)
    if rare and subject.token not in rare:
        log.warning(
            "token %r: if it is an ordinary word, its meaning mixes in; rare words here: %s",
            subject.token, ", ".join(rare[:4]),
        )  # fmt: skip
    images = class_images or draw_class_images(
        backbone, subject, config.prior_images, config.seed, on_step
    )
    objective = ImplantingLoss(
        backbone,
        Examples.of_subject(backbone, subject),
        prior_examples(backbone, subject, images, bool(config.distill), config.seed, on_step),
        config,
    )
    chosen = _search(objective, config, on_step)
    strength, report = line_search(objective, chosen, on_step)
    return ConceptNeurons(
        shapes=objective.shapes,
        indices=by_layer(chosen, objective.shapes),
        subjects=(SubjectInfo(subject.token, subject.class_noun, subject.prompts()[0]),),
        strength=strength,
        base=BaseInfo(backbone.name, base_fingerprint(backbone)),
        info=_info(backbone, config, report),
    )


def _search(objective: ImplantingLoss, config: FindConfig, on_step: OnStep | None) -> Tensor:
    count = max(1, round(config.density * len(objective.theta)))
    steps = Steps(objective, config.steps, on_step)
    if config.algorithm == "one-pass":
        return search.one_pass(objective, count, steps)
    if config.algorithm == "paper":
        return search.paper(objective, count, steps, config.rho)
    return search.mask_in_the_loop(objective, count, steps, config.rate, config.strength_in_loop)


def line_search(
    objective: ImplantingLoss, chosen: Tensor, on_step: OnStep | None = None
) -> tuple[float, dict[str, object]]:
    """The strength with the smallest L_con on held-out noise.

    Returns:
        The strength, and a report: the losses "before" (nothing shut), "after" (at that strength)
        and at all "strengths".

    Raises:
        ConesError: no strength gives a finite loss.
    """
    tried: dict[str, Figures] = {}
    totals: dict[float, float] = {}
    for number, strength in enumerate((0.0, *STRENGTHS)):
        weights = objective.theta.clone()
        weights[chosen] *= 1 - strength
        losses = tried[f"{strength:g}"] = objective.held_out(weights)
        total = losses["subject"] + objective.config.prior_weight * losses["prior"]
        if strength and math.isfinite(total):
            totals[strength] = total
        if on_step is not None:
            on_step("try strengths", number + 1, 1 + len(STRENGTHS), {})
    if not totals:
        raise ConesError(
            "search: the loss with the neurons shut is NaN or infinite at every strength; use "
            "--mixed_precision no, or a smaller --density"
        )
    best = min(totals, key=totals.__getitem__)
    return best, {"before": tried["0"], "after": tried[f"{best:g}"], "strengths": tried}


def _info(backbone: Backbone, config: FindConfig, report: dict[str, object]) -> dict[str, str]:
    """Where the neurons come from."""
    packages = ("torch", "diffusers", "transformers")
    return {
        "algorithm": config.algorithm,
        "config": json.dumps(asdict(config), sort_keys=True),
        "seed": str(config.seed),
        "precision": f"{backbone.dtype}, autocast {backbone.amp}",
        "report": json.dumps(report, sort_keys=True),
        "versions": json.dumps({name: version(name) for name in packages}, sort_keys=True),
    }
