"""The control masks: as many weights as asked for, chosen as they say, the model untouched."""

import pytest
import torch
from tiny import tiny_unet

from cones.errors import InputError
from cones.methods.controls import magnitude_neurons, random_neurons
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.projections import fingerprint, projections, shapes

SUBJECT = SubjectInfo("sks", "robot")
UNET = tiny_unet()


def chosen(neurons: ConceptNeurons) -> tuple[torch.Tensor, torch.Tensor]:
    """|theta| of the weights in the mask, and of the others."""
    masks = neurons.masks()
    weights = projections(UNET, "all")
    theta = torch.cat([weights[layer].detach().abs().flatten() for layer in masks])
    mask = torch.cat([torch.from_numpy(mask).flatten() for mask in masks.values()])
    return theta[mask], theta[~mask]


@pytest.mark.parametrize("density", [0.001, 0.05, 0.5])
def test_the_density_is_the_one_asked_for(density: float) -> None:
    for neurons in (
        random_neurons(UNET, SUBJECT, density, seed=0),
        magnitude_neurons(UNET, SUBJECT, density),
        magnitude_neurons(UNET, SUBJECT, density, largest=False),
    ):
        assert len(neurons) == round(density * neurons.size)


def test_random_neurons_follow_from_their_seed() -> None:
    first, again, other = (random_neurons(UNET, SUBJECT, 0.1, seed) for seed in (3, 3, 4))
    assert first == again
    shared = first.overlap(other)
    assert shared.shared == pytest.approx(shared.expected, rel=0.3)
    densities = first.per_layer_density().values()
    assert min(densities) > 0.07 and max(densities) < 0.13


def test_magnitude_neurons_are_the_largest_or_the_smallest() -> None:
    inside, outside = chosen(magnitude_neurons(UNET, SUBJECT, 0.1))
    assert inside.min() >= outside.max()
    inside, outside = chosen(magnitude_neurons(UNET, SUBJECT, 0.1, largest=False))
    assert inside.max() <= outside.min()


def test_they_may_be_of_the_text_alone() -> None:
    for neurons in (
        random_neurons(UNET, SUBJECT, 0.1, 0, layers="text"),
        magnitude_neurons(UNET, SUBJECT, 0.1, layers="text"),
    ):
        assert neurons.shapes == shapes(projections(UNET)) and len(neurons)


def test_they_name_their_model_and_subject() -> None:
    before = fingerprint(projections(UNET))
    for neurons in (random_neurons(UNET, SUBJECT, 0.1, 0), magnitude_neurons(UNET, SUBJECT, 0.1)):
        assert neurons.base.fingerprint == fingerprint(projections(UNET)) == before
        assert neurons.base.name == "UNet2DConditionModel"
        assert neurons.subjects == (SUBJECT,)
        assert neurons.strength == 1 and neurons.values is None


@pytest.mark.parametrize("density", [0.0, 1.0, -0.1, 2.0])
def test_a_density_out_of_range_is_refused(density: float) -> None:
    with pytest.raises(InputError, match="density"):
        random_neurons(UNET, SUBJECT, density, seed=0)
