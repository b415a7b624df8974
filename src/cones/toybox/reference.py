"""Fresh renders of subjects: the ceiling of their scores, and pictures with known masks."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cones.evaluation.reference import Mask, Reference
from cones.files.textfiles import bad_line
from cones.subjects.folders import METADATA, metadata
from cones.toybox.render import render
from cones.toybox.world import CLASSES, PLACES, SLOTS, Look, sample_look, sample_scene

# These begin the seeds of the renders here; photographs and training pictures have others.
_PROMPT_SEED = 8_000_003
_MASKED_SEED = 8_000_009


def read_subject(folder: Path) -> tuple[str, Look] | None:
    """Class and look of a rendered subject.

    Returns:
        None where `folder` has no `metadata.jsonl`, or one that tells no look.

    Raises:
        InputError: the file tells a look that the toybox cannot draw.
    """
    told = [(line, entry) for line, entry in metadata(folder) if "look" in entry]
    if not told:
        return None
    line, entry = told[0]
    try:
        noun, look = str(entry["class"]), Look.from_dict(entry["look"])
        render(sample_scene(np.random.default_rng(0), [(noun, look)]))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        expected = "class and look as `python -m cones.toybox.render` writes them"
        raise bad_line(folder / METADATA, line, expected, "something else") from error
    return noun, look


def fresh_renders(
    subjects: Sequence[tuple[str, Look]], texts: Sequence[str], seeds: Sequence[int]
) -> list[Image.Image]:
    """Draw the subjects as each prompt asks, with no picture like a photograph of them.

    Args:
        subjects: class and look of each, as many as a picture of the toybox has room for.
        texts: prompts in plain words. The first place that one names is the place, or any place if
            it names none; every other class that it names stands beside the subjects, in any look,
            while there is room.
        seeds: of the pictures of each prompt.

    Returns:
        All pictures of the first prompt in the order of the seeds, then those of the next.
    """
    pictures = []
    for number, text in enumerate(texts):
        place = named_place(text)
        known = {noun for noun, _ in subjects}
        others = [other for other in named_classes(text) if other not in known]
        others = others[: max(SLOTS) - len(subjects)]
        for seed in seeds:
            rng = np.random.default_rng([_PROMPT_SEED, number, seed])
            things = [*subjects, *((other, sample_look(rng)) for other in others)]
            pictures.append(render(sample_scene(rng, things, place)).image)
    return pictures


def masked_renders(
    subject: tuple[str, Look], num: int, seed: int
) -> list[tuple[Image.Image, Mask]]:
    """Draw a subject alone, in one place after another, with no picture like a photograph of it.

    Args:
        subject: its class and look.
        num: how many pictures.
        seed: of all of them.

    Returns:
        Each picture with the subject's mask, bool `[SIZE, SIZE]`.
    """
    places = list(PLACES)
    found = []
    for number in range(num):
        rng = np.random.default_rng([_MASKED_SEED, seed, number])
        rendering = render(sample_scene(rng, [subject], places[number % len(places)]))
        found.append((rendering.image, rendering.masks[0]))
    return found


def named_place(text: str) -> str | None:
    """The place whose phrase ("in the snow") stands first in a text."""
    found = {place: text.find(phrase) for place, phrase in PLACES.items() if phrase in text}
    return min(found, key=found.__getitem__) if found else None


def named_classes(text: str) -> list[str]:
    """The toybox's classes that a text names, each once, in its order."""
    return list(dict.fromkeys(word for word in re.findall(r"\w+", text) if word in CLASSES))


RENDERS = Reference(
    "`python -m cones.toybox.render`", max(SLOTS), read_subject, fresh_renders, masked_renders
)
