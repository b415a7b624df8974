"""A model in float16 or bfloat16 is searched as in float32, but for rounding."""

import threading
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline
from tiny_families import tiny_flux_pipeline, tiny_sdxl_pipeline

from cones.errors import BusyError
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.shutting import shut
from cones.sampling.generate import generate
from cones.search.config import FindConfig
from cones.search.find import find
from cones.search.objective import ImplantingLoss
from cones.subjects.subject import Subject

HALVES = [torch.float16, torch.bfloat16]
PIXELS = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
ROBOT = Subject((Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])), "robot", "sks")
QUICK = FindConfig(density=0.1, steps=4, batch=4, prior_batch=2, prior_images=1)
FAMILIES = {"sd": tiny_pipeline, "sdxl": tiny_sdxl_pipeline, "flux": tiny_flux_pipeline}


@cache
def backbone(family: str, dtype: torch.dtype) -> Backbone:
    return load_backbone(FAMILIES[family]().to(dtype))


@cache
def neurons(family: str, dtype: torch.dtype) -> ConceptNeurons:
    return find(backbone(family, dtype), ROBOT, QUICK)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_are_those_of_float32_but_for_rounding(family: str, dtype: torch.dtype) -> None:
    """The loss is small where pictures are large: 2^-20 of it must not vanish in float16."""
    found = []
    for each in (dtype, torch.float32):
        objective = ImplantingLoss.of(backbone(family, each), [ROBOT], QUICK)
        _, gradient = objective.gradient(objective.theta, 0)
        assert gradient.dtype == torch.float32 and gradient.isfinite().all()
        found.append(gradient)
    assert torch.cosine_similarity(*found, dim=0) > 0.98
    assert (found[0][found[1] != 0] != 0).float().mean() > 0.98  # few vanish


@pytest.mark.parametrize("family", ["sdxl", "flux"])
@pytest.mark.parametrize("dtype", HALVES)
def test_neurons_are_those_of_float32_for_the_most_part(family: str, dtype: torch.dtype) -> None:
    half, whole = neurons(family, dtype), neurons(family, torch.float32)
    assert len(half) == len(whole)
    both = sum(len(np.intersect1d(half.indices[k], whole.indices[k])) for k in half.shapes)
    assert both > 0.6 * len(whole)  # 0.1 by chance


@pytest.mark.parametrize("dtype", HALVES)
def test_the_autoencoder_encodes_in_float32(dtype: torch.dtype) -> None:
    half, whole = backbone("sdxl", dtype), backbone("sdxl", torch.float32)
    means, _ = half.encode_images(ROBOT.images)
    torch.testing.assert_close(means, whole.encode_images(ROBOT.images)[0], atol=1e-2, rtol=1e-2)
    assert means.dtype == torch.float32 and half.pipeline.vae.dtype == dtype


@pytest.mark.parametrize("dtype", HALVES)
def test_shutting_restores_every_byte(dtype: torch.dtype) -> None:
    model = backbone("sdxl", dtype)
    before = {name: value.clone() for name, value in model.denoiser.state_dict().items()}
    with shut(model, neurons("sdxl", torch.float32)):
        pass
    after = model.denoiser.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_nobody_draws_while_the_autoencoder_of_a_half_model_is_in_float32() -> None:
    model = load_backbone(tiny_pipeline().to(torch.bfloat16))
    before = {name: value.clone() for name, value in model.pipeline.vae.state_dict().items()}
    refused: list[bool] = []

    def draw() -> None:
        with pytest.raises(BusyError):
            generate(model, "a mug", steps=1, wait=0)
        refused.append(True)

    def encoding(*_: object) -> None:
        assert model.pipeline.vae.dtype == torch.float32
        stranger = threading.Thread(target=draw)
        stranger.start()
        stranger.join()

    hook = model.pipeline.vae.encoder.register_forward_pre_hook(encoding)
    model.encode_images(ROBOT.images)
    hook.remove()
    assert refused
    after = model.pipeline.vae.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert model.pipeline.vae.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_autoencoder_that_is_exact_stays_as_it_is(dtype: torch.dtype) -> None:
    model = load_backbone(tiny_pipeline().to(dtype))
    weight = next(model.pipeline.vae.parameters())
    address = weight.data_ptr()
    means, _ = model.encode_images(ROBOT.images)
    assert means.dtype == torch.float32
    assert (weight.data_ptr(), weight.dtype) == (address, dtype)
