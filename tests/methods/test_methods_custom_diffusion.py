"""Custom Diffusion's merge: its theorem, and subjects of several artifacts in one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline

from cones.errors import BaseModelError, InputError
from cones.methods.custom_diffusion import DEFAULTS, METHOD, constrained, merge, target_words
from cones.methods.trained_weights import TunedWeights
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.projections import projections
from cones.subjects.subject import Subject

QUICK = replace(DEFAULTS, steps=4, rate=1e-2, batch=2, prior_batch=2)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture(scope="module")
def artifacts(backbone: Backbone) -> list[TunedWeights]:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(2)]
    return [
        METHOD.fit(backbone, Subject(tuple(images), noun, token), QUICK, {noun: images})
        for noun, token in (("robot", "sks"), ("mug", "zas"))
    ]


def problem(seed: int = 0) -> tuple[torch.Tensor, ...]:
    """W0, C, V and C_reg^T C_reg."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    captions = normal(40, 9)
    return normal(7, 9), normal(4, 9), normal(4, 7), captions.T @ captions


def test_the_merged_matrix_maps_the_words_as_asked() -> None:
    weight, words, outputs, moments = problem()
    merged = constrained(weight, words, outputs, moments)
    torch.testing.assert_close(words @ merged.T, outputs, rtol=0, atol=1e-12)


def test_no_matrix_that_does_so_changes_less_on_the_captions() -> None:
    """The change is orthogonal, in the captions' metric, to all that keeps the constraint."""
    weight, words, outputs, moments = problem()
    change = constrained(weight, words, outputs, moments) - weight
    free = torch.linalg.svd(words)[2][len(words) :]  # directions that the words do not see
    torch.testing.assert_close(change @ moments @ free.T, torch.zeros(7, 5).double())


def test_what_was_not_tuned_stays_as_it_is() -> None:
    weight, words, _, moments = problem()
    merged = constrained(weight, words, words @ weight.T, moments)
    torch.testing.assert_close(merged, weight, rtol=0, atol=1e-12)


def test_a_merge_makes_of_each_subjects_words_what_its_own_fit_does(
    backbone: Backbone, artifacts: list[TunedWeights]
) -> None:
    merged = merge(artifacts, backbone)
    assert [subject.token for subject in merged.subjects] == ["sks", "zas"]
    assert merged.embeddings.keys() == {"sks", "zas"}
    with merged.applied(backbone):
        words = {each.token: target_words(backbone, [each]) for each in merged.subjects}
    moved = []
    for artifact in artifacts:
        (subject,) = artifact.subjects
        with artifact.applied(backbone):
            assert torch.equal(words[subject.token], target_words(backbone, [subject]))
        for layer, weight in projections(backbone).items():
            name, C = f"unet.{layer}.weight", words[subject.token]
            own, base = artifact.weights[name].double(), weight.detach().double()
            found = C @ merged.weights[name].double().T
            torch.testing.assert_close(found, C @ own.T, rtol=0, atol=0.01)  # float16
            moved.append((C @ (own - base).T).abs().max().item())
    assert max(moved) > 0.2


def test_the_words_are_those_of_the_subject(
    backbone: Backbone, artifacts: list[TunedWeights]
) -> None:
    (subject,) = artifacts[0].subjects
    states = backbone.encode_prompts(["a photo of a sks robot"]).states[0]
    assert torch.equal(target_words(backbone, [subject]), states[5:7].double())


def test_what_cannot_be_merged_is_refused(
    backbone: Backbone, artifacts: list[TunedWeights]
) -> None:
    first, second = artifacts
    for given, message in (
        ([], "merge: expected at least one artifact, found none"),
        (
            [first, replace(second, method="dreambooth")],
            "merge: expected artifacts of custom_diffusion, found one of dreambooth; fit its "
            "subject with that method",
        ),
        (
            [first, first],
            "token 'sks': stands for two subjects (robot, robot); fit one of them again with "
            "another --token",
        ),
    ):
        with pytest.raises(InputError) as error:
            merge(given, backbone)
        assert str(error.value) == message
    with pytest.raises(BaseModelError):
        merge([replace(first, weights={"unet.x": torch.ones(2)})], backbone)
