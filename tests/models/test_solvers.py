"""Pictures are drawn by the scheduler and in the size that are asked for, and say so."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, LCMScheduler
from tiny import tiny_pipeline
from tiny_families import PIPELINES

from cones.errors import InputError
from cones.models.backbone import Backbone
from cones.models.families.solvers import DIFFUSION, FLOW
from cones.models.loading import load_backbone
from cones.sampling.generate import generate

FAMILIES = ["sd", *PIPELINES]


@cache
def backbone(family: str) -> Backbone:
    return load_backbone(tiny_pipeline() if family == "sd" else PIPELINES[family]())


def draw(model: Backbone, **options: Any) -> Any:
    (picture,) = generate(model, "a sks robot", [1], **{"steps": 3, **options})
    return picture


@pytest.mark.parametrize(
    ("family", "scheduler"),
    [("sd", name) for name in DIFFUSION] + [("sd3", name) for name in FLOW],
)
def test_every_scheduler_draws(family: str, scheduler: str) -> None:
    model = backbone(family)
    picture = draw(replace(model, scheduler=scheduler))
    assert picture.provenance["scheduler"] == scheduler
    assert "Sampler: " in picture.provenance["parameters"]
    again = draw(replace(model, scheduler=scheduler))
    assert (np.asarray(picture.image) == np.asarray(again.image)).all()


def test_other_schedulers_draw_other_pictures() -> None:
    pictures = [
        np.asarray(draw(replace(backbone("sd"), scheduler=name)).image)
        for name in (None, "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler")
    ]
    assert (pictures[0] != pictures[1]).any() and (pictures[1] != pictures[2]).any()


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_schedulers_of_other_models_are_refused(family: str) -> None:
    pipeline = tiny_pipeline() if family == "sd" else PIPELINES[family]()
    for name in ("euler a", "EDMEulerScheduler", (FLOW if family == "sd" else DIFFUSION)[0]):
        with pytest.raises(InputError, match="expected one of") as error:
            load_backbone(pipeline, scheduler=name)
        assert str(error.value).startswith(f"scheduler {name!r}: draws no")


def test_a_distilled_model_is_drawn_with_its_own_scheduler() -> None:
    pipeline = tiny_pipeline()
    config = pipeline.scheduler.config
    pipeline.scheduler = LCMScheduler.from_config(config)
    assert draw(load_backbone(pipeline)).provenance["scheduler"] == "LCMScheduler"
    pipeline.scheduler = EulerDiscreteScheduler.from_config(config)
    found = draw(load_backbone(pipeline)).provenance["scheduler"]
    assert found == "DPMSolverMultistepScheduler"


@pytest.mark.parametrize("scheduler", [None, "DDIMScheduler", "EulerDiscreteScheduler"])
def test_a_schedule_that_ends_in_nothing_but_noise_draws(scheduler: str | None) -> None:
    pipeline = tiny_pipeline()
    changes = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, **changes)
    model = load_backbone(pipeline, scheduler=scheduler)
    signal, spread = model.family.noise_coefficients(torch.tensor([999]))
    assert (signal.item(), spread.item()) == (0, 1)
    pixels = np.asarray(draw(model).image)
    assert pixels.std() > 0


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_as_large_as_asked_for(family: str) -> None:
    model = backbone(family)
    plain, same = draw(model), draw(model, height=16, width=16)
    assert (np.asarray(plain.image) == np.asarray(same.image)).all()
    picture = draw(model, height=32, width=16)
    assert picture.image.size == (16, 32)
    assert (picture.provenance["height"], picture.provenance["width"]) == ("32", "16")
    assert "Size: 16x32" in picture.provenance["parameters"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", [0, -8, 17, 2**20, 16.0, True])
def test_sizes_that_cannot_be_drawn_are_refused(family: str, side: Any) -> None:
    for name in ("height", "width"):
        with pytest.raises(InputError, match=f"{name}: expected "):
            draw(backbone(family), **{name: side})


def test_positions_end_in_stable_diffusion_3() -> None:
    model = backbone("sd3")
    most = model.family.largest
    assert most == model.denoiser.config.pos_embed_max_size * 2  # type: ignore[union-attr]
    with pytest.raises(InputError, match=f"height: expected 8 to {most}, found {most + 8}"):
        draw(model, height=most + 8)


def test_a_picture_that_a_safety_checker_blacked_out_is_refused() -> None:
    model = backbone("sd")
    (image,) = model.pipeline("a mug", num_inference_steps=1).images

    class Checked(type(model.pipeline)):  # type: ignore[misc]
        def __call__(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(images=[image], nsfw_content_detected=[True])

    pipeline = Checked(**model.pipeline.components, requires_safety_checker=False)
    with pytest.raises(InputError, match="safety checker made the picture black"):
        draw(load_backbone(pipeline))
