"""Batches of a subject are seeded, stratified, and give every photograph its share."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline

from cones.errors import InputError
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import SubjectInfo
from cones.neurons.phrases import mentions
from cones.subjects.subject import (
    TEMPLATES,
    Batch,
    Examples,
    Subject,
    joined,
    joined_examples,
    shared_photographs,
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline(kl=True))


def subject(count: int = 3) -> Subject:
    shades = (Image.new("RGB", (16, 16), (80 * k, 40, 200 - 60 * k)) for k in range(count))
    return Subject(tuple(shades), "robot", "sks")


@pytest.fixture(scope="module")
def examples(backbone: Backbone) -> Examples:
    return Examples.of_subject(backbone, subject())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(examples: Examples) -> Examples:
    """Without spread, so that a latent tells which photograph it is of."""
    return Examples(
        examples.means, torch.zeros_like(examples.means), examples.states, examples.pairs
    )


def chosen(examples: Examples, batch: Batch) -> list[int]:
    """Which photograph each of a batch's latents is of."""
    return [
        next(k for k, mean in enumerate(examples.means) if torch.equal(latent, mean))
        for latent in batch.latents
    ]


# -- the subject -----------------------------------------------------------------------------------


def test_a_subject_is_read_from_a_folder(tmp_path: Path) -> None:
    for k, image in enumerate(subject(2).images):
        image.save(tmp_path / f"{k}.png")
    (tmp_path / "broken.png").write_text("no image")
    read = Subject.from_folder(tmp_path, "robot", "zas")
    assert [image.tobytes() for image in read.images] == [i.tobytes() for i in subject(2).images]
    assert read.phrase == "zas robot"
    assert len(read.notes) == 1 and "broken.png was skipped" in read.notes[0]


def test_prompts_name_it_in_every_wording() -> None:
    prompts = subject().prompts()
    assert prompts[0] == "a photo of a sks robot"
    assert len(set(prompts)) == len(TEMPLATES)
    assert all(mentions(prompt, "sks robot") for prompt in prompts)
    vowel = replace(subject(), token="ohwx")
    assert vowel.prompts()[:2] == ["a photo of an ohwx robot", "an ohwx robot"]
    assert vowel.info == SubjectInfo("ohwx", "robot", "a photo of an ohwx robot")


@pytest.mark.parametrize(
    ("class_noun", "token", "found"),
    [
        ("", "sks", "''"),
        (" \t", "sks", r"' \t'"),
        ("3", "sks", "'3'"),
        (" Robot", "sks", "' Robot', with spaces too many"),
        ("tea  pot", "sks", "'tea  pot', with spaces too many"),
        ("a robot", "sks", "'a robot', with an article"),
        ("The robot", "sks", "'The robot', with an article"),
        ("sks robot", "sks", "'sks robot', with the token in it"),
        ("robot SKS", "sks", "'robot SKS', with the token in it"),
        ("x" * 101, "sks", "101 characters"),
    ],
)
def test_class_nouns_that_are_none_are_refused(class_noun: str, token: str, found: str) -> None:
    with pytest.raises(InputError) as error:
        Subject(subject().images, class_noun, token)
    assert str(error.value) == (
        "class noun: expected what the subject is and nothing else, such as 'robot', found "
        f"{found}; name it so"
    )


@pytest.mark.parametrize("noun", ["robot", "Labrador", "tea pot", "T-shirt", "café", "杯子", "c++"])
def test_class_nouns_in_any_language(noun: str) -> None:
    assert Subject(subject().images, noun).phrase == f"sks {noun}"


@pytest.mark.parametrize("token", ["", "sk\x00s"])
def test_tokens_that_are_none_are_refused(token: str) -> None:
    with pytest.raises(InputError) as error:
        Subject(subject().images, "robot", token)
    assert str(error.value) == f"token {token!r}: expected a word, such as 'sks'"


@pytest.mark.parametrize("wrong", [None, 5, b"robot"])
def test_words_that_are_no_text_are_refused(wrong: Any) -> None:
    said = rf"expected a text, found a {type(wrong).__name__}$"
    with pytest.raises(InputError, match=f"^token: {said}"):
        Subject(subject().images, "robot", wrong)
    with pytest.raises(InputError, match=f"^class noun: {said}"):
        Subject(subject().images, wrong)


def test_a_subject_without_photographs_is_refused() -> None:
    with pytest.raises(InputError, match=r"^a subject needs at least one photograph, found none$"):
        Subject((), "robot")


# -- batches ---------------------------------------------------------------------------------------


def test_every_photograph_is_encoded_with_every_prompt(
    backbone: Backbone, examples: Examples
) -> None:
    means, deviations = backbone.encode_images(subject().images)
    assert torch.equal(examples.means, means) and torch.equal(examples.deviations, deviations)
    expected = backbone.encode_prompts(subject().prompts())
    assert torch.equal(examples.states.states, expected.states)
    assert examples.pairs == (tuple(range(len(TEMPLATES))),) * 3


def test_a_batch_is_what_its_seed_makes_it(examples: Examples) -> None:
    first, again = (examples.draw(8, 1000, seeded()) for _ in range(2))
    other = examples.draw(8, 1000, seeded(1))
    for name in ("latents", "noise", "timesteps"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert torch.equal(first.states.states, again.states.states)
    assert not torch.equal(first.noise, other.noise)
    torch.manual_seed(5)  # the global seed has no part in it
    assert torch.equal(first.noise, examples.draw(8, 1000, seeded()).noise)


def test_a_batch_has_its_shapes_and_types(examples: Examples) -> None:
    batch = examples.draw(5, 1000, seeded())
    assert len(batch) == 5
    assert batch.latents.shape == batch.noise.shape == (5, 4, 8, 8)
    assert batch.states.states.shape == (5, 32, 32)
    assert batch.timesteps.shape == (5,) and batch.timesteps.dtype == torch.int64


@pytest.mark.parametrize("count", [1, 4, 8, 20])
def test_timesteps_are_stratified(examples: Examples, count: int) -> None:
    for seed in range(20):
        timesteps = examples.draw(count, 1000, seeded(seed)).timesteps
        assert sorted((timesteps * count // 1000).tolist()) == list(range(count))


def test_strata_are_not_tied_to_photographs(examples: Examples) -> None:
    known = plain(examples)
    batches = [known.draw(3, 1000, seeded(seed)) for seed in range(60)]
    lowest = Counter(chosen(known, batch)[int(batch.timesteps.argmin())] for batch in batches)
    assert min(lowest[k] for k in range(3)) >= 10


@pytest.mark.parametrize("count", [2, 3, 8, 9])
def test_each_photograph_comes_equally_often(examples: Examples, count: int) -> None:
    known = plain(examples)
    for seed in range(10):
        often = Counter(chosen(known, known.draw(count, 1000, seeded(seed))))
        assert max(often.values()) - min(often[k] for k in range(3)) <= 1


def test_over_many_batches_each_photograph_comes_equally_often(examples: Examples) -> None:
    known = plain(examples)
    often: Counter[int] = Counter()
    for seed in range(150):
        often.update(chosen(known, known.draw(4, 1000, seeded(seed))))
    assert all(abs(often[k] - 200) < 30 for k in range(3))


def test_latents_spread_around_their_mean(examples: Examples) -> None:
    latents = examples.draw(300, 1000, seeded()).latents.view(3, 100, *examples.means.shape[1:])
    means = latents.mean((0, 1))
    assert torch.isfinite(latents).all()
    torch.testing.assert_close(
        means, examples.means.mean(0), atol=0.4 * float(examples.deviations.max()), rtol=0
    )
    assert not torch.equal(*examples.draw(6, 1000, seeded()).latents[[0, 3]])


def test_a_latent_goes_with_its_own_prompts_only(backbone: Backbone) -> None:
    texts = [["a mug", "the mug"], ["a car", "a mug"]]
    known = plain(Examples.of(backbone, subject(2).images, texts))
    assert len(known.states) == 3  # "a mug" is encoded once
    drawn = known.draw(100, 1000, seeded())
    seen = {
        (k, next(r for r, state in enumerate(known.states.states) if torch.equal(state, used)))
        for k, used in zip(chosen(known, drawn), drawn.states.states, strict=True)
    }
    assert seen == {(0, 0), (0, 1), (1, 2), (1, 0)}


def test_batches_are_joined(examples: Examples) -> None:
    a, b = examples.draw(2, 1000, seeded(0)), examples.draw(3, 1000, seeded(1))
    both = joined([a, b])
    assert len(both) == 5
    assert torch.equal(both.states[:2].states, a.states.states)
    assert torch.equal(both.timesteps[2:], b.timesteps)


def test_examples_are_joined(backbone: Backbone) -> None:
    parts = [
        Examples.of(backbone, subject(2).images, [["a mug"], ["a car", "a mug"]]),
        Examples.of(backbone, subject(1).images, [["a tree"]]),
    ]
    both = joined_examples(parts)
    assert both.pairs == ((0,), (1, 0), (2,))
    assert torch.equal(both.means, torch.cat([part.means for part in parts]))
    assert torch.equal(both.states.states, torch.cat([part.states.states for part in parts]))


# -- photographs given in Python, and shared ones --------------------------------------------------

COLOUR = np.array((200, 30, 40), np.uint8)
ARRAY = np.broadcast_to(COLOUR, (16, 16, 3)).copy()
IMAGE = Image.fromarray(ARRAY)


@pytest.mark.parametrize(
    "image",
    [
        ARRAY,
        ARRAY.astype(np.uint16) * 257,
        np.concatenate([ARRAY, np.full((16, 16, 1), 255, np.uint8)], axis=2),
        IMAGE.convert("RGBA"),
        IMAGE.quantize(4),
    ],
    ids=["array", "16 bits", "array with alpha", "RGBA", "palette"],
)
def test_images_of_any_kind_become_rgb(image: object) -> None:
    (made,) = Subject((image,), "robot").images  # type: ignore[arg-type]
    assert made.mode == "RGB" and np.array_equal(np.asarray(made), ARRAY)


def test_grey_and_transparent_images_become_rgb() -> None:
    grey = np.full((16, 16), 77, np.uint8)
    images = [grey, grey[..., None], grey.astype(np.uint16) * 257, Image.fromarray(grey)]
    for made in Subject(images, "robot").images:  # type: ignore[arg-type]
        assert (np.asarray(made) == 77).all() and made.mode == "RGB"
    clear = Image.new("RGBA", (16, 16), (200, 30, 40, 0))
    assert (np.asarray(Subject((clear,), "robot").images[0]) == 255).all()
    batch = np.stack([ARRAY, ARRAY[::-1]])
    assert len(Subject(batch, "robot").images) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGE, "expected a sequence of images, found Image; give (image,) for one"),
        ("photos/", "expected a sequence of images, found str; give (image,) for one"),
        (ARRAY, "expected a sequence of images, found ndarray of uint8 [16, 16, 3]; give"),
        (7, "expected a sequence of images, found int; give"),
        (["a.png"], "image 1: expected an image of Pillow or an array of uint8 [height, width, 3]"),
        ([IMAGE, torch.zeros(3, 16, 16)], "image 2: expected an image of Pillow or an array of"),
        ([ARRAY / 255], "found ndarray of float64 [16, 16, 3]; convert it"),
        ([ARRAY.transpose(2, 0, 1)], "found ndarray of uint8 [3, 16, 16]; convert it"),
        ([IMAGE.convert("F")], "image 1: cannot be used (numbers without a scale); convert it"),
        ([Image.new("RGB", (0, 5))], "image 1: expected an image of Pillow"),
    ],
)
def test_what_is_no_image_is_refused(images: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        Subject(images, "robot")
    told = str(error.value)
    assert told.startswith("a subject's photographs: ") and message in told and "; " in told


def test_images_may_be_files(tmp_path: Path) -> None:
    for k, image in enumerate(subject(3).images):
        image.save(tmp_path / f"{k}.png")
    files = [tmp_path / "2.png", tmp_path / "0.png"]
    assert Subject.from_folder(files, "robot").images == subject(3).images[::2]
    assert len(Subject.from_folder(str(tmp_path / "[01].png"), "robot").images) == 2


def test_photographs_that_stand_for_two_things_are_told() -> None:
    robot, mug = Subject(subject(4).images, "robot"), Subject(subject(2).images, "mug", "ohwx")
    other = Subject((IMAGE,), "cat", "qvz")
    assert shared_photographs([robot, other]) == []
    assert shared_photographs([robot, other, mug]) == [
        "photographs: 2 are given for sks robot and for ohwx mug too; give each its own"
    ]
    images = (*other.images, robot.images[3], Image.new("RGB", (16, 16)))
    both = Subject(images, "cat", "qvz")
    assert shared_photographs([robot, both]) == []  # a picture may well show two
    (told,) = shared_photographs([robot, other], {"robot": [robot.images[1]], "dog": []})
    assert told.startswith("class images of 'robot': 1 are photographs of sks robot, whose look")
