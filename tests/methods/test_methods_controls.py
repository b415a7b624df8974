"""The CNS-style mask: it knows the subject, and leaves out what matters in general."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline

from cones.errors import InputError
from cones.methods import controls
from cones.methods.controls import cns_neurons, importance
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.projections import fingerprint, projections, shapes
from cones.search import loss
from cones.search.selection import flatten_positions, split_by_layer, top
from cones.subjects.subject import Examples, Subject


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "BATCHES", 3)
    monkeypatch.setattr(controls, "MAX_GENERAL", 4)
    monkeypatch.setattr(controls, "STEPS", 2)


def subject(seed: int = 0, token: str = "sks") -> Subject:
    pixels = np.random.default_rng(seed).integers(0, 255, (2, 16, 16, 3), np.uint8)
    return Subject(tuple(Image.fromarray(each) for each in pixels), "robot", token)


def test_the_density_and_the_seed_decide(backbone: Backbone) -> None:
    before = fingerprint(projections(backbone))
    first, again, other = (cns_neurons(backbone, subject(), 0.05, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == round(0.05 * first.size)
    assert first.info["algorithm"] == "cns" and first.subjects[0].token == "sks"
    assert fingerprint(projections(backbone)) == first.base.fingerprint == before


def test_it_depends_on_the_subject(backbone: Backbone) -> None:
    assert cns_neurons(backbone, subject(0), 0.05) != cns_neurons(backbone, subject(1), 0.05)


def test_what_matters_in_general_is_left_out(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[torch.Tensor] = []

    def kept(*arguments: object) -> torch.Tensor:
        found.append(importance(*arguments))  # type: ignore[arg-type]
        return found[-1].clone()

    monkeypatch.setattr(controls, "importance", kept)
    neurons = cns_neurons(backbone, subject(), 0.1)
    mine, general = found
    chosen = flatten_positions(neurons.indices, shapes(projections(backbone, "all")))
    common = top(general, len(neurons))
    assert not np.isin(chosen, common).any()
    assert np.isin(top(mine, len(neurons)), common).any()  # without that rule some would be in
    rest = np.setdiff1d(np.arange(len(mine)), np.concatenate([chosen, common]))
    assert mine[chosen].min() >= mine[rest].max()


def test_importance_is_the_gradient_of_the_denoising_loss(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a difference quotient of one weight."""
    monkeypatch.setattr(controls, "BATCHES", 1)
    examples = Examples.of_subject(backbone, subject())
    scores = importance(backbone, examples, seed=4)
    place = scores.argmax()
    weights = projections(backbone, "all")
    found = split_by_layer(place[None], shapes(weights))
    ((layer, index),) = ((layer, int(index[0])) for layer, index in found.items() if len(index))
    generator = torch.Generator().manual_seed(4)
    batch = examples.draw(controls.BATCH, backbone.timesteps, generator)

    def error(factor: float) -> float:
        moved = weights[layer].detach().clone()
        moved.view(-1)[index] *= factor
        prediction = loss.predict(backbone, batch, {layer: moved}).double()
        return loss.squared_error(prediction, loss.target(backbone, batch)).mean().item()

    assert scores[place] == pytest.approx(abs(error(1.5) - error(0.5)), rel=0.05)


def test_what_cannot_be_masked_is_refused(backbone: Backbone) -> None:
    with pytest.raises(InputError, match="density"):
        cns_neurons(backbone, subject(), 1.0)
    with pytest.raises(InputError, match="expected one token"):
        cns_neurons(backbone, subject(token="unheardof"), 0.1)
