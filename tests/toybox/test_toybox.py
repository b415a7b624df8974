"""The embedded world: the renderer, its captions and tokenizer, the sample subjects."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clip_vocabulary import clip_tokenizer
from PIL import Image
from transformers import AutoTokenizer

from cones.errors import InputError
from cones.models.prompts import RARE_TOKENS
from cones.toybox import weights
from cones.toybox.captions import FILLERS, WORDS, caption, description
from cones.toybox.data import scene_at
from cones.toybox.names import name_of, nameable, named_looks
from cones.toybox.render import look_from_seed, render, render_subject, save_subject
from cones.toybox.samples import FIRST_SEEDS, PHOTOGRAPHS, SUBJECTS, write_samples
from cones.toybox.tokenizer import MAX_LENGTH, build_tokenizer
from cones.toybox.world import (
    ACCESSORIES,
    CLASSES,
    COLOURS,
    PATTERNS,
    PLACES,
    SIZE,
    Look,
    Scene,
    sample_look,
    sample_scene,
)

SAMPLES = Path(__file__).parents[2] / "examples" / "subjects"


def scenes(count: int) -> list[Scene]:
    return [sample_scene(np.random.default_rng([99, k])) for k in range(count)]


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def words(text: str) -> list[str]:
    return re.findall(r"\w+|[,.]", text)


def test_the_same_scene_gives_the_same_pixels() -> None:
    for scene in scenes(5):
        one, two = render(scene), render(scene)
        assert one.image.size == (SIZE, SIZE) and one.image.mode == "RGB"
        assert one.image.tobytes() == two.image.tobytes()
        assert np.array_equal(one.masks, two.masks)


def test_masks_are_disjoint_and_every_thing_is_seen() -> None:
    for scene in scenes(40):
        masks = render(scene).masks
        assert masks.shape == (len(scene.things), SIZE, SIZE)
        assert masks.sum(0).max() == 1
        assert masks.sum((1, 2)).min() > 40


def test_masks_match_the_visible_pixels() -> None:
    """Another main colour changes the picture within the mask's fine outline and nowhere else."""
    for number, noun in enumerate(CLASSES):
        rng = np.random.default_rng([7, number])
        look = Look("red", "red", "plain", "none", 1.0, (200, 20, 20), (200, 20, 20))
        other = Look("blue", "blue", "plain", "none", 1.0, (20, 20, 200), (20, 20, 200))
        scene = sample_scene(rng, [(noun, look)])
        (thing,) = scene.things
        changed = Scene(scene.place, scene.seed, (replace(thing, look=other),))
        one, two = render(scene), render(changed)
        assert np.array_equal(one.masks, two.masks)
        moved = np.abs(pixels(one.image) - pixels(two.image)).max(2) > 60
        mask = one.masks[0]
        assert (moved & ~mask).sum() <= 0.05 * mask.sum()
        assert (moved & mask).sum() >= 0.4 * mask.sum()


@pytest.mark.parametrize("noun", CLASSES)
def test_every_look_renders_and_shows(noun: str) -> None:
    """Each pattern and accessory changes the picture of each class."""
    place = np.random.default_rng(5)
    base = sample_look(np.random.default_rng(4))
    thing = sample_scene(place, [(noun, base)], "meadow").things[0]
    seen = set()
    for pattern in PATTERNS:
        for accessory in ACCESSORIES:
            look = replace(base, pattern=pattern, accessory=accessory)
            scene = Scene("meadow", 1, (replace(thing, look=look),))
            seen.add(render(scene).image.tobytes())
    assert len(seen) == len(PATTERNS) * len(ACCESSORIES)


def test_a_look_survives_json() -> None:
    for seed in range(20):
        look = look_from_seed(seed)
        assert Look.from_dict(json.loads(json.dumps(look.as_dict()))) == look
        assert look.main != look.second


def spots(scene: Scene) -> list[tuple[str, float, float]]:
    return [(thing.noun, thing.x, thing.y) for thing in scene.things]


def test_captions_say_from_nothing_to_everything_of_a_look() -> None:
    looks = {*PATTERNS, *ACCESSORIES, *COLOURS}
    rng, told = np.random.default_rng(0), set()
    for scene in scenes(400):
        text = caption(scene, rng)
        said = words(text)
        assert set(said) <= set(WORDS) - set(RARE_TOKENS), text
        assert {thing.noun for thing in scene.things} == set(said) & set(CLASSES), text
        told.update(said)
        bare = caption(scene, rng, keep=0.0)
        assert not set(words(bare)) & looks, bare
    assert {*PATTERNS, *ACCESSORIES[1:], *COLOURS, "tall", "wide"} <= told


def test_what_captions_say_is_true() -> None:
    rng = np.random.default_rng(1)
    for scene in (scene for scene in scenes(400) if len(scene.things) == 1):
        look = scene.things[0].look
        said = set(words(caption(scene, rng, keep=1.0)))
        assert said & set(COLOURS) == {look.main, look.second}
        assert said & set(ACCESSORIES) == {look.accessory} - {"none"}
        assert not said & {"tall", "narrow"} or look.stretch < 1
        assert not said & {"wide", "broad"} or look.stretch > 1


def test_a_description_says_all_that_captions_can() -> None:
    look = Look("red", "blue", "dotted", "crown", 0.85, (0, 0, 0), (0, 0, 0))
    assert description("robot", look) == "tall red and blue dotted robot with a crown"
    assert description("mug", replace(look, stretch=1.0, accessory="none")) == (
        "red and blue dotted mug"
    )


def test_names_stand_for_one_look_each_which_no_subject_has() -> None:
    looks = named_looks()
    taken = {nameable(look) for look in looks.values()}
    assert len(taken) == len(looks) == len(set(looks.values()))
    assert all(name_of(look) == name for name, look in looks.items())
    assert not taken & {nameable(look_from_seed(seed)) for seed in range(500)}


def test_a_name_is_said_of_its_look_only_and_often() -> None:
    rng, said, could = np.random.default_rng(0), 0, 0
    for k in range(400):
        scene = scene_at(1, k)
        names = {name_of(thing.look) for thing in scene.things} - {None}
        found = set(words(caption(scene, rng))) & set(named_looks())
        assert found <= names
        said, could = said + len(found), could + len(names)
    assert 0.6 < said / could < 0.8


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_captions_name_things_in_reading_order(count: int) -> None:
    rng = np.random.default_rng(count)
    for scene in (scene for scene in scenes(200) if len(scene.things) == count):
        row = {noun: SIZE * (count == 4 and y > 0.76 * SIZE) for noun, _, y in spots(scene)}
        expected = [noun for noun, x, _ in sorted(spots(scene), key=lambda s: row[s[0]] + s[1])]
        assert [word for word in words(caption(scene, rng)) if word in CLASSES] == expected


def test_every_word_is_one_token(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    ids = [tokenizer(word, add_special_tokens=False).input_ids for word in WORDS]
    assert all(len(found) == 1 for found in ids)
    assert len({found[0] for found in ids}) == len(WORDS) == len(set(WORDS))
    assert len(RARE_TOKENS) >= 16
    assert not set(RARE_TOKENS) & {*CLASSES, *PLACES, *COLOURS, *PATTERNS, *ACCESSORIES, *FILLERS}
    assert len(tokenizer("zebra", add_special_tokens=False).input_ids) > 1
    rng = np.random.default_rng(0)
    longest = max((caption(scene_at(1, k), rng, keep=1.0) for k in range(1000)), key=len)
    assert len(tokenizer(longest).input_ids) <= MAX_LENGTH


@pytest.mark.parametrize("part", ["pipeline/tokenizer", "clip"])
def test_every_word_is_one_token_of_the_committed_models(part: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(weights(part))
    ids = [tokenizer(word, add_special_tokens=False).input_ids for word in WORDS]
    assert all(len(found) == 1 for found in ids)
    assert len({found[0] for found in ids}) == len(WORDS)


def test_rare_words_are_single_tokens_of_stable_diffusion_too() -> None:
    tokenizer = clip_tokenizer()
    assert tokenizer("a photo of a sks robot").input_ids[:4] == [49406, 320, 1125, 539]
    ids = [tokenizer(word, add_special_tokens=False).input_ids for word in RARE_TOKENS]
    assert all(len(found) == 1 for found in ids)
    assert min(ids) > [40000]  # late merges: words that hardly any caption has


def test_photographs_of_a_subject_vary_in_place() -> None:
    photos = render_subject("duck", look_from_seed(11), 12, 11)
    assert {thing.look for scene in photos.scenes for thing in scene.things} == {photos.look}
    assert {thing.noun for scene in photos.scenes for thing in scene.things} == {"duck"}
    assert len({scene.place for scene in photos.scenes[:8]}) == 8
    assert len({image.tobytes() for image in photos.images}) == 12
    assert {thing.mirrored for scene in photos.scenes for thing in scene.things} == {True, False}


def test_a_saved_subject_tells_what_it_shows(tmp_path: Path) -> None:
    photos = render_subject("mug", look_from_seed(12), 3, 12)
    save_subject(photos, tmp_path)
    lines = (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    for entry, scene, image in zip(entries, photos.scenes, photos.images, strict=True):
        with Image.open(tmp_path / entry["file_name"]) as stored:
            assert stored.tobytes() == image.tobytes()
        assert entry["class"] == "mug" and entry["place"] == scene.place
        assert entry["text"] == f"a photo of a mug {PLACES[scene.place]}"
        assert Look.from_dict(entry["look"]) == photos.look


def test_photographs_of_another_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "mine.png", "text": "my robot"}\n')
    with pytest.raises(InputError, match="line 1: expected a rendered picture"):
        save_subject(render_subject("robot", look_from_seed(3), 1, 3), tmp_path)
    assert (tmp_path / "mine.png").exists()


def test_the_samples_on_disk_are_what_is_rendered_now(tmp_path: Path) -> None:
    folders = write_samples(tmp_path)
    expected = {folder.relative_to(tmp_path) for folder in folders}
    assert {path.relative_to(SAMPLES) for path in SAMPLES.glob("*/*")} == expected
    for folder in folders:
        kept = SAMPLES / folder.relative_to(tmp_path)
        files = sorted(path.name for path in folder.iterdir())
        assert sorted(path.name for path in kept.iterdir()) == files
        assert len(files) == PHOTOGRAPHS + 1
        assert (kept / "metadata.jsonl").read_text() == (folder / "metadata.jsonl").read_text()
        for path in folder.glob("*.png"):
            with Image.open(path) as new, Image.open(kept / path.name) as old:
                assert new.tobytes() == old.tobytes()


def test_samples_are_apart_from_each_other() -> None:
    assert "robot-1" in SUBJECTS["test"]
    assert {split: len(names) for split, names in SUBJECTS.items()} == {"dev": 24, "test": 8}
    assert {name.partition("-")[0] for names in SUBJECTS.values() for name in names} == {*CLASSES}
    seeds = [first + k for first in FIRST_SEEDS.values() for k in range(8)]
    assert len(set(seeds)) == 16 and min(seeds) > 1_000_000
    looks = [look_from_seed(seed) for seed in seeds]
    assert len(set(looks)) == 16
