"""Drawing is by seed and by nothing else, is put down in full, and leaves the model as it was."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline

from cones.errors import BaseModelError, BusyError, ConesError, InputError
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import file_hash
from cones.neurons.projections import fingerprint, projections, shapes
from cones.neurons.shutting import shut
from cones.sampling.generate import generate
from cones.sampling.pictures import Picture, contact_sheet, read_provenance, save_pictures
from cones.search.config import FindConfig
from cones.search.find import find
from cones.search.tune import tune
from cones.subjects.subject import Subject

ROBOT = SubjectInfo("sks", "robot", "a photo of a sks robot")
NAME = "UNet2DConditionModel"  # of a pipeline that was not loaded from anywhere
NOUNS = (("zas", "mug"), ("uer", "car"))
AND_MUGS = " and a mug" * 10


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture
def robot(backbone: Backbone) -> ConceptNeurons:
    sizes = shapes(projections(backbone))
    every_other = {
        layer: np.arange(0, rows * columns, 2) for layer, (rows, columns) in sizes.items()
    }
    return ConceptNeurons(sizes, every_other, subjects=(ROBOT,), strength=1.5)


def draw(backbone: Backbone, *arguments: object, **settings: object) -> list[Picture]:
    return generate(backbone, *arguments, **{"steps": 3, **settings})  # type: ignore[arg-type]


def difference(a: Picture, b: Picture) -> int:
    """The largest difference of two pictures, in grey levels."""
    return int(np.abs(np.asarray(a.image).astype(int) - np.asarray(b.image).astype(int)).max())


def test_every_prompt_is_drawn_with_every_seed(backbone: Backbone) -> None:
    done: list[Picture] = []
    pictures = draw(backbone, ["a mug", "a car"], [3, 5], batch=3, on_picture=done.append)
    assert [(p.prompt, p.seed) for p in pictures] == [
        ("a mug", 3), ("a mug", 5), ("a car", 3), ("a car", 5)
    ]  # fmt: skip
    assert done == pictures
    assert all(p.image.mode == "RGB" and p.image.size == (16, 16) for p in pictures)


def test_a_picture_does_not_depend_on_its_batch(backbone: Backbone) -> None:
    together = draw(backbone, ["a mug", "a car at night"], range(3), batch=6)
    alone = draw(backbone, "a car at night", [2])[0]
    assert difference(together[5], alone) <= 1
    assert difference(together[4], alone) > 20


def test_a_picture_does_not_depend_on_what_was_drawn_before(backbone: Backbone) -> None:
    first = draw(backbone, "a mug", [1])[0]
    torch.manual_seed(7)
    draw(backbone, "a car", range(2), steps=5)
    assert difference(first, draw(backbone, "a mug", [1])[0]) == 0


def test_the_pipeline_is_left_as_it_was(backbone: Backbone, robot: ConceptNeurons) -> None:
    scheduler, weights = backbone.pipeline.scheduler, fingerprint(projections(backbone))
    configuration = dict(backbone.pipeline.config)
    pictures = draw(backbone, "a sks robot", neurons=robot)
    assert pictures[0].provenance["scheduler"] == "DPMSolverMultistepScheduler"
    assert backbone.pipeline.scheduler is scheduler
    assert dict(backbone.pipeline.config) == configuration
    assert fingerprint(projections(backbone)) == weights


def test_neurons_are_shut_while_it_draws(backbone: Backbone, robot: ConceptNeurons) -> None:
    inside = draw(backbone, "a sks robot", neurons=robot, strength=1)[0]
    with shut(backbone, robot, 1):
        around = draw(backbone, "a sks robot")[0]
    assert difference(inside, around) == 0
    assert difference(inside, draw(backbone, "a sks robot")[0]) > 0
    assert inside.provenance["weights"] == around.provenance["weights"]


def drawn_in_threads(backbone: Backbone, threads: int, pictures: int) -> None:
    """Threads that draw with neurons of their own draw what each of them draws alone."""
    sizes = shapes(projections(backbone))
    sets = [
        ConceptNeurons(
            sizes,
            {layer: np.arange(seed, rows * columns, 2) for layer, (rows, columns) in sizes.items()},
            subjects=(ROBOT,),
            strength=0.5 + seed / 8,
        )
        for seed in range(threads)
    ]
    before = {name: value.clone() for name, value in backbone.denoiser.state_dict().items()}

    def pictures_of(number: int) -> list[tuple[bytes, dict[str, str]]]:
        found = []
        for seed in range(pictures):
            neurons = sets[number] if seed % 5 else None
            (picture,) = draw(backbone, "a sks robot", [seed], neurons=neurons)
            found.append((picture.image.tobytes(), dict(picture.provenance)))
        return found

    alone = [pictures_of(number) for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        together = list(pool.map(pictures_of, range(threads)))
    assert together == alone
    assert len({image for each in alone for image, _ in each}) > threads
    after = backbone.denoiser.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_threads_draw_what_each_draws_alone(backbone: Backbone) -> None:
    drawn_in_threads(backbone, threads=3, pictures=4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_threads_draw_fifty_pictures_each(backbone: Backbone) -> None:
    drawn_in_threads(backbone, threads=8, pictures=50)


def test_drawing_waits_for_its_turn_or_is_refused(
    backbone: Backbone, robot: ConceptNeurons
) -> None:
    with ThreadPoolExecutor(1) as pool, shut(backbone, robot):
        refused = pool.submit(lambda: draw(backbone, "a mug", wait=0))
        with pytest.raises(BusyError, match="the model is in use by another thread or task"):
            refused.result()
        waiting = pool.submit(lambda: draw(backbone, "a mug")[0])
        inside = draw(backbone, "a mug")[0]
    plain = draw(backbone, "a mug")[0]
    assert difference(waiting.result(), plain) == 0 < difference(inside, plain)


def test_a_search_and_a_drawing_of_another_thread_do_not_meet(
    backbone: Backbone, robot: ConceptNeurons
) -> None:
    images = tuple(Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    quick = FindConfig(steps=4, batch=2, prior_batch=1, prior_images=1, density=0.05)

    def search() -> ConceptNeurons:
        return find(backbone, Subject(images, "robot"), quick, {"robot": images})

    def pictures() -> list[bytes]:
        return [
            draw(backbone, "a sks robot", [seed], neurons=robot, steps=1)[0].image.tobytes()
            for seed in range(8)
        ]

    alone = search(), pictures()
    with ThreadPoolExecutor(2) as pool:
        found, drawn = pool.submit(search), pool.submit(pictures)
        assert (found.result(), drawn.result()) == alone


def test_neurons_may_be_given_by_their_file(
    backbone: Backbone, robot: ConceptNeurons, tmp_path: Path
) -> None:
    robot.save(path := tmp_path / "robot.cones.safetensors")
    wanted = draw(backbone, "a sks robot", neurons=robot)[0]
    for given in (path, str(path), [path]):
        assert difference(draw(backbone, "a sks robot", neurons=given)[0], wanted) == 0


def test_a_model_made_in_inference_mode_draws_and_is_not_searched() -> None:
    with torch.inference_mode():
        backbone = load_backbone(tiny_pipeline())
    sizes = shapes(projections(backbone))
    neurons = ConceptNeurons(sizes, {layer: np.arange(9) for layer in sizes}, subjects=(ROBOT,))
    ordinary = load_backbone(tiny_pipeline())
    assert difference(
        draw(backbone, "a sks robot", neurons=neurons)[0],
        draw(ordinary, "a sks robot", neurons=neurons)[0],
    ) == 0  # fmt: skip
    subject = Subject((Image.new("RGB", (16, 16)),), "robot")
    with pytest.raises(InputError, match=r"was loaded in torch.inference_mode, .*load it outside"):
        find(backbone, subject)
    with torch.no_grad(), pytest.raises(InputError, match=r"^gradients are turned off here"):
        find(ordinary, subject)


@pytest.mark.parametrize("wrong", ["toybox", None, tiny_pipeline])
def test_what_is_no_backbone_is_refused(wrong: Any) -> None:
    said = r"^backbone: expected a Backbone, found .*; open it with cones.load_backbone"
    for use in (
        lambda: generate(wrong, "a mug"),
        lambda: find(wrong, Subject((Image.new("RGB", (16, 16)),), "robot")),
    ):
        with pytest.raises(InputError, match=said) as caught:
            use()
        assert "\n" not in str(caught.value) and len(str(caught.value)) <= 300


def test_a_configuration_of_another_kind_is_refused(
    backbone: Backbone, robot: ConceptNeurons
) -> None:
    subject = Subject((Image.new("RGB", (16, 16)),), "robot")
    wrong: Any = {"steps": 1}
    with pytest.raises(InputError, match=r"^config: expected a FindConfig, found a dict$"):
        find(backbone, subject, wrong)
    with pytest.raises(InputError, match=r"^config: expected a TuneConfig, found a dict$"):
        tune(backbone, robot, subject, wrong)


def test_provenance_says_all(backbone: Backbone, robot: ConceptNeurons, tmp_path: object) -> None:
    robot.save(f"{tmp_path}/robot.cones.safetensors")
    picture = draw(
        backbone, "a sks robot", [4], neurons=robot, negative_prompt="a mug", guidance=2.5
    )[0]
    text = dict(picture.provenance)
    base = fingerprint(projections(backbone))
    assert text.pop("weights") != base
    assert text.pop("parameters") == (
        "a sks robot\nNegative prompt: a mug\nSteps: 3, Sampler: DPM++ 2M, CFG scale: 2.5, "
        f"Seed: 4, Size: 16x16, Model: {backbone.name}, Cones neurons: {text['neurons']}, "
        f"Cones strength: 1.5, Version: cones {text['cones']}"
    )
    assert text.pop("cones")
    assert text == {
        "prompt": "a sks robot",
        "negative_prompt": "a mug",
        "seed": "4",
        "steps": "3",
        "guidance": "2.5",
        "height": "16",
        "width": "16",
        "scheduler": "DPMSolverMultistepScheduler",
        "dtype": "float32",
        "model": backbone.name,
        "fingerprint": base,
        "neurons": file_hash(f"{tmp_path}/robot.cones.safetensors"),
        "strength": "1.5",
    }


def test_provenance_names_the_base_model_also_while_something_is_shut(
    backbone: Backbone, robot: ConceptNeurons
) -> None:
    with shut(backbone, robot):
        text = draw(backbone, "a sks robot")[0].provenance
    assert text["fingerprint"] == fingerprint(projections(backbone)) != text["weights"]
    assert (text["neurons"], text["strength"]) == ("", "")


def test_several_sets_are_united(backbone: Backbone, robot: ConceptNeurons) -> None:
    mug = replace(robot, subjects=(SubjectInfo("zas", "mug"),), strength=1.0)
    prompt = "a sks robot and a zas mug"
    several = draw(backbone, prompt, neurons=[robot, mug])[0]
    assert difference(several, draw(backbone, prompt, neurons=robot | mug)[0]) == 0
    assert len(several.provenance["neurons"].split()) == 2
    assert several.provenance["strength"] == "1.5"


def test_neurons_of_another_model_are_refused(backbone: Backbone, robot: ConceptNeurons) -> None:
    other = ConceptNeurons({"other.to_k": (2, 2)}, {}, subjects=(ROBOT,))
    with pytest.raises(BaseModelError):
        draw(backbone, "a sks robot", neurons=other)


@pytest.mark.parametrize(
    ("prompt", "warning"),
    [
        ("a sks robot", None),
        ("A SKS Robot", None),
        ("a sks red robot", None),
        ("a robot", "prompt 'a robot': names no subject of the neurons; say 'sks robot'"),
        ("a sksy robot", "prompt 'a sksy robot': names no subject of the neurons; say 'sks robot'"),
        (
            "a sks in the snow",
            "prompt 'a sks in the snow': says 'sks' without 'robot'; say 'sks robot', as it was "
            "found with",
        ),
        (
            f"a sks robot{AND_MUGS}",
            f"prompt 'a sks robot{AND_MUGS}': has 33 tokens, {NAME} reads the first 30; what "
            "follows has no effect",
        ),
    ],
)
def test_prompts_that_seem_unmeant_are_warned_of(
    backbone: Backbone,
    robot: ConceptNeurons,
    caplog: pytest.LogCaptureFixture,
    prompt: str,
    warning: str | None,
) -> None:
    with caplog.at_level(logging.WARNING, "cones"):
        draw(backbone, prompt, neurons=robot, steps=1)
    ours = [each.getMessage() for each in caplog.records if each.name == "cones"]
    assert ours == ([warning] if warning else [])


def test_a_subject_that_a_prompt_leaves_out_is_named(
    backbone: Backbone, robot: ConceptNeurons, caplog: pytest.LogCaptureFixture
) -> None:
    mug, car = (replace(robot, subjects=(SubjectInfo(*each),)) for each in NOUNS)
    with caplog.at_level(logging.WARNING, "cones"):
        draw(backbone, "a sks robot and a zas mug", neurons=[robot, mug, car], steps=1)
    assert [each.getMessage() for each in caplog.records if each.name == "cones"] == [
        "prompt 'a sks robot and a zas mug': does not name 'uer car'; say so, or leave the neurons "
        "out"
    ]


def test_one_token_for_two_subjects_is_refused(backbone: Backbone, robot: ConceptNeurons) -> None:
    """Also of one noun: united they would pass as one subject."""
    with pytest.raises(InputError, match=r"'sks': stands for two subjects \(robot, robot\); find"):
        draw(backbone, "a sks robot", neurons=[robot, replace(robot, strength=1)])


def test_a_prompt_that_cuts_the_token_off_is_refused(
    backbone: Backbone, robot: ConceptNeurons
) -> None:
    prompt = "a mug and " * 10 + "a sks robot"
    with pytest.raises(InputError) as error:
        draw(backbone, prompt, neurons=robot)
    assert str(error.value) == (
        f"prompt {prompt!r}: 'sks' stands behind token 30, where {NAME} cuts prompts off "
        "(33 tokens found); shorten the prompt"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps: expected 1 to 1000, found 0"),
        ({"steps": 1001}, "steps: expected 1 to 1000, found 1001"),
        ({"seeds": [-1]}, "seed: expected 0 to 9223372036854775807, found -1"),
        ({"seeds": [2**63]}, "seed: expected 0 to 9223372036854775807, found 9223372036854775808"),
        ({"batch": 0}, "batch: expected 1 to 1024, found 0"),
        ({"batch": 10**9}, "batch: expected 1 to 1024, found 1000000000"),
        ({"seeds": []}, "seeds: expected at least one, found none"),
        ({"seeds": 5}, "seeds: expected several, such as range(5), found 5"),
        ({"seeds": range(10**9)}, "seeds: expected at most 100000, found 1000000000"),
        ({"prompts": []}, "prompts: expected at least one, found none"),
        (
            {"strength": 1.5},
            "strength: is of neurons, but none are given; name them or leave it out",
        ),
        ({"neurons": []}, "no neurons to shut; give at least one set"),
        ({"prompts": [None]}, "prompt: expected a text, found a NoneType"),
        ({"negative_prompt": None}, "prompt: expected a text, found a NoneType"),
        (
            {"artifact": "lora.safetensors"},
            "artifact: expected what cones.fit or cones.load_artifact returns, found a str",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    backbone: Backbone, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as error:
        draw(backbone, **{"prompts": "a mug", "seeds": [0], **settings})
    assert str(error.value) == message


@pytest.mark.parametrize("guidance", [0, -5, 0.99, float("nan"), float("inf"), "5"])
def test_a_guidance_that_is_none_is_refused(backbone: Backbone, guidance: Any) -> None:
    with pytest.raises(InputError, match=r"^guidance: expected .*at least 1, found .*; 1 is none$"):
        draw(backbone, "a mug", guidance=guidance)


def test_a_negative_prompt_without_guidance_is_refused(backbone: Backbone) -> None:
    with pytest.raises(InputError, match=r"^negative prompt: has no effect at guidance 1, which"):
        draw(backbone, "a mug", guidance=1, negative_prompt="blue")
    assert draw(backbone, "a mug", guidance=1)


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_a_damaged_weight_is_named_and_no_picture_drawn(part: str) -> None:
    pipeline, done = tiny_pipeline(), []
    damaged = getattr(pipeline, part)
    name, weight = list(damaged.named_parameters())[-1]
    weight.data.view(-1)[0] = float("nan")
    with pytest.raises(InputError, match=rf"^model: {name} of its {part} has values that are NaN"):
        draw(load_backbone(pipeline), "a mug", on_picture=done.append)
    assert not done and not pipeline.vae.decoder._forward_hooks


@pytest.mark.parametrize(
    ("part", "message"),
    [("unet", "the latents: became NaN or inf"), ("vae.decoder", "the decoded pictures: became")],
)
def test_what_overflows_is_refused(part: str, message: str) -> None:
    pipeline = tiny_pipeline()
    layer = pipeline.unet.conv_out if part == "unet" else pipeline.vae.decoder.layers[-1]
    layer.weight.data.fill_(3e38)
    with pytest.raises(ConesError, match=f"^{message}.*load the model in float32$"):
        draw(load_backbone(pipeline), "a mug")


def test_a_prompt_of_a_megabyte_is_drawn_saved_and_shown(
    backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, prompt in enumerate(("mug " * 250_000, "a" * 1_000_000)):
        (picture,) = draw(backbone, prompt, steps=1)
        said = [each.getMessage() for each in caplog.records if each.name == "cones"]
        assert said and max(map(len, said)) <= 300
        (path,) = save_pictures([picture], tmp_path / str(number))
        text = read_provenance(path)
        assert text["prompt"][:-1] == prompt[:9_999] and "Steps: 1, " in text["parameters"]
        sheet = contact_sheet([[picture.image]], [prompt], [prompt])
        assert max(sheet.size) < 600


def test_broken_text_is_refused(backbone: Backbone) -> None:
    for settings in ({"prompts": "a \udc80"}, {"prompts": "a", "negative_prompt": "a \udc80"}):
        with pytest.raises(InputError) as error:
            draw(backbone, **settings)
        assert str(error.value) == r"text 'a \udc80': is no valid Unicode; give it as UTF-8"


def test_a_strength_out_of_range_is_refused(backbone: Backbone, robot: ConceptNeurons) -> None:
    with pytest.raises(InputError, match=r"^strength: expected 0 to 2, found 3$"):
        draw(backbone, "a sks robot", neurons=robot, strength=3)
