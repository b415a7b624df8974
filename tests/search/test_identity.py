"""All that a result depends on is in its identity: each argument is changed in turn."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline

from cones.distributed import Processes
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.search.config import FindConfig
from cones.search.identity import differences, foreign, identity, model_identity, read_identity
from cones.subjects.subject import Subject

Change = Callable[[Any], object]

ROBOT = Subject((Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")), "robot")
OTHER = {
    "algorithm": "paper",
    "density": "auto",
    "steps": 101,
    "batch": 9,
    "prior_batch": 9,
    "prior_weight": 2.0,
    "distill": False,
    "prior_images": 17,
    "rate": 0.04,
    "rho": 1e-5,
    "strength_in_loop": 2.0,
    "layers": "text",
    "seed": 1,
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


def of(backbone: Backbone, **changed: Any) -> dict[str, Any]:
    given = {"method": "find", "subjects": [ROBOT], "settings": FindConfig(), **changed}
    return identity(model=model_identity(backbone), **given)


def with_image(number: int, image: Image.Image) -> Subject:
    images = list(ROBOT.images)
    images[number] = image
    return replace(ROBOT, images=tuple(images))


def one_pixel() -> Image.Image:
    image = ROBOT.images[1].copy()
    image.putpixel((3, 3), (0, 0, 254))
    return image


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "lora"},
        {"subjects": [replace(ROBOT, token="ohwx")]},
        {"subjects": [replace(ROBOT, class_noun="mug")]},
        {"subjects": [with_image(1, one_pixel())]},
        {"subjects": [with_image(1, ROBOT.images[1].resize((2, 8)))]},
        {"subjects": [replace(ROBOT, images=ROBOT.images[::-1])]},
        {"subjects": [replace(ROBOT, images=ROBOT.images[:1])]},
        {"subjects": [ROBOT, replace(ROBOT, token="ohwx")]},
        {"class_images": {"robot": ROBOT.images}},
        {"start": ConceptNeurons({"a": (2, 2)}, {})},
        {"processes": Processes(1, 2)},
        *({"settings": FindConfig(**{name: OTHER[name]})} for name in OTHER),
    ],
    ids=str,
)
def test_each_argument_is_in_it(backbone: Backbone, changed: dict[str, Any]) -> None:
    assert differences(of(backbone), of(backbone, **changed))


def test_every_setting_was_changed() -> None:
    assert OTHER.keys() == {field.name for field in fields(FindConfig)}


def test_what_a_result_does_not_depend_on_is_not_in_it(backbone: Backbone) -> None:
    same = {
        "subjects": [replace(ROBOT, notes=("small",))],
        "class_images": {"mug": ROBOT.images},  # of no subject's class
        "processes": Processes(),
    }
    assert of(backbone, **same) == of(backbone)
    assert of(load_backbone(tiny_pipeline())) == of(backbone)


def nudge(part: torch.nn.Module) -> None:
    with torch.no_grad():
        parameter = next(part.parameters())
        parameter.view(-1)[0] += 1


CHANGES: dict[str, Change] = {
    "denoiser": lambda pipeline: nudge(pipeline.unet),
    "autoencoder": lambda pipeline: nudge(pipeline.vae),
    "text encoder": lambda pipeline: nudge(pipeline.text_encoder),
    "configuration": lambda pipeline: pipeline.vae.register_to_config(scaling_factor=2.0),
    "tokenizer": lambda pipeline: pipeline.tokenizer.add_tokens(["newword"]),
    "schedule": lambda pipeline: pipeline.scheduler.register_to_config(beta_end=0.013),
    "prediction": lambda pipeline: pipeline.scheduler.register_to_config(prediction_type="sample"),
    "dtype": lambda pipeline: pipeline.unet.to(torch.bfloat16),
}


@pytest.mark.parametrize("part", CHANGES)
def test_each_part_of_the_model_is_in_it(part: str) -> None:
    pipeline = tiny_pipeline()
    backbone = load_backbone(pipeline)
    before = model_identity(backbone)
    CHANGES[part](pipeline)
    assert differences(before, model_identity(backbone))


def test_autocast_is_in_it(backbone: Backbone) -> None:
    told = differences(
        model_identity(backbone), model_identity(replace(backbone, amp=torch.bfloat16))
    )
    assert told == "autocast None -> torch.bfloat16"


def test_the_scheduler_is_in_it(backbone: Backbone) -> None:
    told = differences(
        model_identity(backbone), model_identity(replace(backbone, scheduler="DDIMScheduler"))
    )
    assert told == "scheduler default -> DDIMScheduler"


def test_differences_are_a_short_line(backbone: Backbone) -> None:
    one = of(backbone)
    assert differences(one, one) == ""
    two = of(backbone, settings=FindConfig(steps=7, seed=3))
    assert differences(one, two) == "steps 100 -> 7, seed 0 -> 3"
    three = of(
        backbone,
        settings=FindConfig(steps=7, seed=3),
        subjects=[replace(ROBOT, token="ohwx")],
    )
    assert differences(one, three) == "token sks -> ohwx, steps 100 -> 7, seed 0 -> 3 and 1 more"
    odd = {"a": "x" * 1000 + "\x1b[2J\n", "b": ["\x1b"] * 90}
    told = differences(odd, {})
    assert told.isprintable() and len(told) < 120


def test_a_result_of_other_settings_is_of_the_same_origin(backbone: Backbone) -> None:
    one = of(backbone)
    assert foreign(one, of(backbone, settings=FindConfig(steps=7))) == ""
    assert foreign(one, of(backbone, method="tune")) == "method find -> tune"
    assert foreign(one, of(backbone, subjects=[with_image(1, one_pixel())]))
    assert foreign({}, one)


@pytest.mark.parametrize("text", ["", "[]]", "1", "[1]", "[[]]", "null", "[" * 100_000])
def test_an_identity_that_is_none_is_empty(text: str) -> None:
    assert read_identity(text) == {}
