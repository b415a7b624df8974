"""The settings of a search and of a tuning, and what every method that minimises L_con shares."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from cones.checks import (
    MAX_BATCH,
    MAX_IMAGES,
    MAX_SEED,
    check_choice,
    check_count,
    check_density,
    check_number,
)
from cones.neurons.concept_neurons import MAX_STRENGTH
from cones.neurons.projections import Layers

Algorithm = Literal["mask-in-loop", "reconstruct", "one-pass", "paper"]
NAIVE: tuple[Algorithm, ...] = ("one-pass", "paper")  # all gradients are taken at the whole model
DENSITIES = (0.005, 0.01, 0.02, 0.03, 0.05)  # tried for each subject with density "auto"

Precision = Literal["binary", "quaternary", "float16", "float32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """How the concept-implanting loss is sampled and minimised: in a search, a tuning, a rival.

    Attributes:
        steps: optimiser steps.
        rate: learning rate.
        batch: samples of the subject in a step.
        prior_batch: samples of the prior in a step.
        prior_weight: the paper's lambda.
        prior_images: images of the class that the model draws for the prior.
        seed: of everything random, from 0 to 2^40.
    """

    MIN_PRIOR_BATCH: ClassVar[int] = 1

    steps: int
    rate: float
    batch: int = 8
    prior_batch: int = 8
    prior_weight: float = 3.0
    prior_images: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that are out of bounds, and turn the others into Python's own.

        Raises:
            InputError: one is no number, or out of bounds.
        """
        self._set(
            steps=check_count("steps", self.steps),
            rate=check_number("rate", self.rate, above=0),
            batch=check_count("batch", self.batch, 1, MAX_BATCH),
            prior_batch=check_count(
                "prior_batch", self.prior_batch, self.MIN_PRIOR_BATCH, MAX_BATCH
            ),
            prior_weight=check_number("prior_weight", self.prior_weight, least=0),
            prior_images=check_count("prior_images", self.prior_images, 1, MAX_IMAGES),
            seed=check_count("seed", self.seed, 0, MAX_SEED),
        )

    def _set(self, **checked: object) -> None:
        """Set fields of a frozen dataclass, in `__post_init__` alone."""
        vars(self).update(checked)


@dataclass(frozen=True, kw_only=True)
class FindConfig(LossConfig):
    """How to search. `steps` are for each subject; `prior_images` are drawn of other things too.

    Attributes:
        algorithm: "mask-in-loop" (the default), "reconstruct", "one-pass" or "paper".
        density: share of the weights to shut for each subject, in (0, 1); an upper bound in
            "reconstruct", which stops where more would not help. "auto": the smallest of
            `DENSITIES` that does nearly what the best of them does, by the loss on held-out noise.
        rate: Adam's, of the latents in "mask-in-loop", of the weights in "reconstruct", there in
            units of their root mean square.
        distill: whether the prior's target is the base model's own prediction, not the noise; None
            for the first two algorithms only, since where nothing is changed that prior has no
            gradient.
        rho: step size of "paper".
        strength_in_loop: of the shutting in the first two: 1 sets to zero, 2 flips the sign.
        layers: "all" for the key and value projections of all attention layers; "text" for those
            of the text alone, through which a subject is drawn less well.
    """

    steps: int = 100
    rate: float = 0.03
    algorithm: Algorithm = "mask-in-loop"
    density: float | Literal["auto"] = 0.025
    distill: bool | None = None
    rho: float = 2e-5
    strength_in_loop: float = 1.0
    layers: Layers = "all"

    def __post_init__(self) -> None:
        """Refuse what cannot be searched with.

        Raises:
            InputError: a setting is unknown or out of bounds.
        """
        check_choice("algorithm", self.algorithm, get_args(Algorithm))
        check_choice("layers", self.layers, get_args(Layers))
        super().__post_init__()
        self._set(
            density=self.density if self.density == "auto" else check_density(self.density),
            distill=self.algorithm not in NAIVE if self.distill is None else self.distill,
            rho=check_number("rho", self.rho, above=0),
            strength_in_loop=check_number(
                "strength_in_loop", self.strength_in_loop, above=0, most=MAX_STRENGTH
            ),
        )

    @property
    def max_density(self) -> float:
        """The density that the search goes up to."""
        return DENSITIES[-1] if self.density == "auto" else self.density


@dataclass(frozen=True, kw_only=True)
class TuneConfig(LossConfig):
    """How to tune. Each step is on the sum of the losses of all subjects, with a batch of each.

    Attributes:
        rate: Adam's at first, in root mean squares of each neuron's matrix; it falls along a
            cosine. "binary" does not depend on it.
        precision: of the values that are stored; "binary" stores none.
        distill: whether the prior's target is the base model's own prediction, not the noise.
    """

    steps: int = 50
    rate: float = 0.1
    precision: Precision = "quaternary"
    distill: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be tuned with.

        Raises:
            InputError: a setting is unknown or out of bounds.
        """
        check_choice("precision", self.precision, PRECISIONS)
        super().__post_init__()
