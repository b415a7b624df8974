"""Tuning on a tiny random model: the neurons' values only, exact in the file, and a lower loss."""

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline
from torch import Tensor

from cones.errors import BaseModelError, ConesError, InputError
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import load, to_bytes
from cones.neurons.projections import projections, shapes
from cones.neurons.shutting import shut
from cones.search.config import PRECISIONS, Precision, TuneConfig
from cones.search.objective import ImplantingLoss
from cones.search.tune import joint_loss, tune, tune_on
from cones.subjects.subject import Subject

QUICK = TuneConfig(steps=6, batch=2, prior_batch=2, prior_images=2)
VALUED: tuple[Precision, ...] = ("quaternary", "float16", "float32")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(4)]
    return [Subject(tuple(images[:2]), "robot", "sks"), Subject(tuple(images[2:]), "mug", "zas")]


def random_neurons(backbone: Backbone, *subjects: Subject, layers: str = "text") -> ConceptNeurons:
    rng = np.random.default_rng(1)
    places = shapes(projections(backbone, layers))  # type: ignore[arg-type]
    index = {k: np.flatnonzero(rng.random(prod(shape)) < 0.05) for k, shape in places.items()}
    named = tuple(SubjectInfo(each.token, each.class_noun) for each in subjects)
    return ConceptNeurons(places, index, subjects=named, strength=1.25)


@pytest.fixture(scope="module")
def both(backbone: Backbone, subjects: list[Subject]) -> ConceptNeurons:
    return random_neurons(backbone, *subjects)


@pytest.fixture(scope="module")
def objective(backbone: Backbone, subjects: list[Subject], both: ConceptNeurons) -> ImplantingLoss:
    images = {noun: subjects[0].images for noun in ("robot", "mug")}
    return joint_loss(backbone, both, subjects, QUICK, images)


def content(neurons: ConceptNeurons) -> int:
    """The bytes of a neuron file without its header."""
    data = to_bytes(neurons)
    return len(data) - 8 - int.from_bytes(data[:8], "little")


def state(backbone: Backbone) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in backbone.denoiser.state_dict().items()}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_neurons_are_tuned_and_the_file_is_exact(
    backbone: Backbone,
    objective: ImplantingLoss,
    both: ConceptNeurons,
    tmp_path: Path,
    precision: Precision,
) -> None:
    before = state(backbone)
    tuned = tune_on(objective, both, replace(QUICK, precision=precision))
    assert all(torch.equal(before[k], v) for k, v in backbone.denoiser.state_dict().items())
    assert len(tuned) == len(both)
    if precision != "binary":
        assert all(np.array_equal(tuned.indices[k], both.indices[k]) for k in both.indices)
        assert tuned.values is not None and tuned.strength == 1.0
    tuned.save(tmp_path / "a")
    assert load(tmp_path / "a") == tuned
    masks = tuned.masks()
    with shut(backbone, load(tmp_path / "a")):
        for layer, weight in projections(backbone).items():
            rest = torch.from_numpy(~masks[layer])
            assert torch.equal(weight[rest], before[f"{layer}.weight"][rest])
            if tuned.values is not None:
                assert weight[~rest].numpy().tobytes() == tuned.values[layer].tobytes()
    info = json.loads(tuned.info["config"])
    assert tuned.info["algorithm"] == "tune" and info["precision"] == precision


def test_the_report_is_of_each_subject_with_what_the_file_recommends(
    objective: ImplantingLoss, both: ConceptNeurons
) -> None:
    report = json.loads(tune_on(objective, both, QUICK).info["report"])
    weights = objective.theta.clone()
    for layer, view in objective.unflatten(weights).items():
        view.view(-1)[torch.tensor(both.indices[layer])] *= 1 - 1.25
    for number, token in enumerate(("sks", "zas")):
        assert report["before"][token] == objective.held_out(weights, number)
    assert report["after"].keys() == {"sks", "zas"}


@pytest.mark.parametrize("precision", VALUED)
def test_the_loss_on_held_out_noise_falls(
    objective: ImplantingLoss, both: ConceptNeurons, precision: Precision
) -> None:
    config = replace(QUICK, precision=precision, steps=12, rate=0.1)
    report = json.loads(tune_on(objective, both, config).info["report"])
    before, after = (
        sum(sum(figures.values()) for figures in report[when].values())
        for when in ("before", "after")
    )
    assert after < before


def test_more_precision_takes_more_bytes(objective: ImplantingLoss, both: ConceptNeurons) -> None:
    quick = replace(QUICK, steps=1)
    tuned = {p: tune_on(objective, both, replace(quick, precision=p)) for p in PRECISIONS}
    sizes = {p: content(each) for p, each in tuned.items()}
    assert [*sizes] == sorted(sizes, key=sizes.__getitem__)
    count, layers = len(both), len(both.shapes)
    spent = {p: sizes[p] - content(replace(tuned[p], values=None)) for p in VALUED}
    assert count / 4 <= spent["quaternary"] <= count / 4 + 17 * layers
    assert spent["float16"] == 2 * count and spent["float32"] == 4 * count


def test_tuning_goes_on_from_tuned_values(objective: ImplantingLoss, both: ConceptNeurons) -> None:
    """With a rate near zero nothing moves: the values are those that it began with."""
    still = replace(QUICK, precision="float32", steps=1, rate=1e-30)
    first = tune_on(objective, both, still)
    assert first.values is not None
    for layer, weight in objective.unflatten(objective.theta).items():
        found = weight.view(-1)[torch.tensor(both.indices[layer])] * (1 - 1.25)
        assert np.array_equal(first.values[layer], found.numpy())
    moved = tune_on(objective, both, QUICK)
    again = tune_on(objective, moved, still)
    assert again.values is not None and again.info["start"] != first.info["start"]
    assert replace(again, info={}) == replace(moved, info={})


def test_the_same_seed_tunes_alike(backbone: Backbone, subjects: list[Subject]) -> None:
    robot = random_neurons(backbone, subjects[0])
    first, again = (tune(backbone, robot, subjects[0], QUICK) for _ in range(2))
    assert to_bytes(first) == to_bytes(again)
    assert first != tune(backbone, robot, subjects[0], replace(QUICK, seed=1))


def test_binary_is_zeroed_or_flipped_whichever_is_better(
    objective: ImplantingLoss, both: ConceptNeurons
) -> None:
    binary = tune_on(objective, both, replace(QUICK, precision="binary"))
    assert binary.values is None and len(binary & both) > len(both) / 2
    totals = {}
    for strength in (1.0, 2.0):
        weights = objective.theta.clone()
        for layer, view in objective.unflatten(weights).items():
            view.view(-1)[torch.tensor(binary.indices[layer])] *= 1 - strength
        losses = objective.held_out(weights)
        totals[strength] = losses["subject"] + QUICK.prior_weight * losses["prior"]
    assert binary.strength == min(totals, key=totals.__getitem__)


def test_subjects_are_matched_by_name(
    backbone: Backbone, subjects: list[Subject], both: ConceptNeurons
) -> None:
    images = {noun: subjects[0].images for noun in ("robot", "mug")}
    one, other = (
        joint_loss(backbone, both, order, QUICK, images) for order in (subjects, subjects[::-1])
    )
    assert torch.equal(one.batches.draw(0).target, other.batches.draw(0).target)


def test_neurons_among_all_projections_are_tuned_there(
    backbone: Backbone, subjects: list[Subject]
) -> None:
    wide = random_neurons(backbone, subjects[0], layers="all")
    tuned = tune(backbone, wide, subjects[0], replace(QUICK, steps=1))
    assert tuned.values is not None and tuned.shapes == wide.shapes


def test_other_subjects_are_refused(
    backbone: Backbone, subjects: list[Subject], both: ConceptNeurons
) -> None:
    robot = random_neurons(backbone, subjects[0])
    with pytest.raises(InputError, match="expected 'zas mug', which is of the neurons, found 'sk"):
        tune(backbone, both, subjects[0], QUICK)
    with pytest.raises(InputError, match=r"'zas mug' is not of the neurons \(sks robot\); find"):
        tune(backbone, robot, subjects, QUICK)
    with pytest.raises(InputError, match="expected 'sks robot', which is of the neurons"):
        tune(backbone, robot, replace(subjects[1], token="sks"), QUICK)
    with pytest.raises(InputError, match="token 'sks': stands for two subjects"):
        tune(backbone, robot, [subjects[0]] * 2, QUICK)
    with pytest.raises(InputError, match="neurons: expected at least one to tune, found none"):
        tune(backbone, replace(robot, indices={}), subjects[0], QUICK)
    with pytest.raises(BaseModelError, match="load that base model"):
        small = ConceptNeurons({"other": (2, 2)}, {"other": np.array([1])})
        tune(backbone, small, subjects[0], QUICK)


def test_a_loss_that_is_not_finite_ends_the_tuning(
    objective: ImplantingLoss, both: ConceptNeurons
) -> None:
    with pytest.raises(ConesError, match="tune: the loss is NaN or infinite at the tuned values"):
        tune_on(objective, both, replace(QUICK, precision="float32", steps=1, rate=1e30))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1, found 0"),
        ({"precision": "ternary"}, "precision: expected one of .*, found 'ternary'"),
        ({"rate": 0.0}, "rate: expected more than 0, found 0.0"),
        ({"prior_weight": -1.0}, "prior_weight: expected at least 0, found -1.0"),
        ({"seed": -1}, "seed: expected 0 to 1099511627776, found -1"),
        ({"seed": 10**13}, "seed: expected 0 to 1099511627776, found 10000000000000"),
    ],
)
def test_a_bad_setting_is_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        replace(QUICK, **change)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
