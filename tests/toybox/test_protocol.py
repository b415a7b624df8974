"""The toybox's protocol refuses what toybox-clip does not know."""

from pathlib import Path

import pytest
from PIL import Image
from tiny import tiny_pipeline

from cones.errors import InputError
from cones.evaluation import (
    GENERAL_PROMPTS,
    PROMPTS,
    Evaluator,
    Scorer,
    evaluate,
    named_protocol,
)
from cones.evaluation.protocol import check_prompts, fill_prompt
from cones.methods.controls import random_neurons
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.models.prompts import RARE_TOKENS
from cones.neurons.concept_neurons import SubjectInfo
from cones.subjects.photos import load_photos
from cones.toybox.captions import WORDS
from cones.toybox.reference import named_classes, named_place
from cones.toybox.world import CLASSES, PLACES

SUBJECT = SubjectInfo("sks", "robot")


@pytest.fixture(scope="module")
def toybox() -> Backbone:
    return load_backbone()


def test_the_prompts_name_every_place_and_differ() -> None:
    single = [prompt for prompt in PROMPTS if "{other}" not in prompt]
    assert len(PROMPTS) == len(set(PROMPTS)) == 10
    assert {named_place(prompt) for prompt in single} == set(PLACES)
    assert sum("{other}" in prompt for prompt in PROMPTS) >= 2


@pytest.mark.parametrize("noun", CLASSES)
def test_prompts_stay_in_the_toybox_vocabulary(noun: str) -> None:
    check_prompts(PROMPTS)
    for prompt in PROMPTS:
        named, plain = fill_prompt(prompt, f"sks {noun}", [noun]), fill_prompt(prompt, noun, [noun])
        assert plain == named.replace("sks ", "")
        assert set(plain.replace(",", " ,").split()) <= set(WORDS) - set(RARE_TOKENS)
        assert len(named_classes(plain)) == 1 + ("{other}" in prompt)
    for prompt in GENERAL_PROMPTS:
        assert not set(RARE_TOKENS) & set(fill_prompt(prompt, noun, [noun]).split())


def test_the_protocol_of_the_toybox_refuses_other_models(photos: Path) -> None:
    backbone = load_backbone(tiny_pipeline())
    neurons, drawn = random_neurons(backbone, SUBJECT, 0.1, seed=0), []
    with pytest.raises(InputError) as error:
        evaluate(backbone, neurons, photos, on_progress=lambda *step: drawn.append(step))
    assert str(error.value) == (
        f"protocol 'toybox': is for models of the toybox alone, found {backbone.name}; for others "
        "give --protocol cones --clip FOLDER --dino FOLDER"
    )
    assert not drawn


@pytest.mark.parametrize(
    ("subject", "prompt", "message"),
    [
        (SUBJECT, "a {} on the moon", "knows the words of the toybox alone, found 'moon'"),
        (SubjectInfo("sks", "tapir"), "a {}", "knows only robot, .*found 'tapir'"),
    ],
)
def test_the_protocol_of_the_toybox_refuses_other_words(
    toybox: Backbone, photos: Path, subject: SubjectInfo, prompt: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Evaluator(toybox, [subject], [photos], [prompt], [0])
    assert Evaluator(toybox, [SUBJECT], [photos]).looks


def test_the_protocol_of_the_toybox_refuses_other_photographs(
    toybox: Backbone, photos: Path, tmp_path: Path
) -> None:
    for path in photos.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=f"that the toybox has rendered, found {tmp_path}; for"):
        Evaluator(toybox, [SUBJECT], [tmp_path])
    with pytest.raises(InputError, match="pictures of 64 x 64 pixels, found one of 80 x 64; for"):
        Evaluator(toybox, [SUBJECT], [[Image.new("RGB", (80, 64))]])
    scorer = Scorer(named_protocol("toybox"), [load_photos(photos).images], ["robot"])
    with pytest.raises(InputError, match="pictures of 64 x 64 pixels"):
        scorer.score([Image.new("RGB", (512, 512))], ["a robot"])
