"""The ceiling of a toybox subject: fresh renders of it, in the scenes that the prompts ask for."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cones.errors import InputError
from cones.toybox.render import render
from cones.toybox.world import CLASSES, PLACES, SLOTS, Look, sample_look, sample_scene

METADATA = "metadata.jsonl"
_SEED = 8_000_003  # begins every seed here; photographs and training pictures have others


def read_subject(folder: Path) -> tuple[str, Look] | None:
    """Class and look of a rendered subject.

    Returns:
        None where `folder` has no `metadata.jsonl`, or one that tells no look.

    Raises:
        InputError: the file tells a look that the toybox cannot draw.
    """
    entry = _entry(folder)
    if "look" not in entry:
        return None
    try:
        noun, look = str(entry["class"]), Look.from_dict(entry["look"])
        render(sample_scene(np.random.default_rng(0), [(noun, look)]))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error
    return noun, look


def class_of(folder: Path) -> str | None:
    """The class that a folder's `metadata.jsonl` tells, if it tells one."""
    noun = _entry(folder).get("class")
    return None if noun is None else str(noun)


def _entry(folder: Path) -> dict[str, Any]:
    """The first line of `metadata.jsonl`; empty where there is no such file."""
    path = folder / METADATA
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8").splitlines()[0]))
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> InputError:
    return InputError(
        f"{folder / METADATA}: expected one JSON object a line, as `python -m "
        f"cones.toybox.render` writes it, found something else ({error}); remove it to go without "
        "a ceiling"
    )


def fresh_renders(
    subjects: Sequence[tuple[str, Look]], texts: Sequence[str], seeds: Sequence[int]
) -> list[Image.Image]:
    """Draws the subjects as each prompt asks, with no picture like a photograph of them.

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
            rng = np.random.default_rng([_SEED, number, seed])
            things = [*subjects, *((other, sample_look(rng)) for other in others)]
            pictures.append(render(sample_scene(rng, things, place)).image)
    return pictures


def named_place(text: str) -> str | None:
    """The place whose phrase ("in the snow") stands first in a text."""
    found = {place: text.find(phrase) for place, phrase in PLACES.items() if phrase in text}
    return min(found, key=found.__getitem__) if found else None


def named_classes(text: str) -> list[str]:
    """The toybox's classes that a text names, each once, in its order."""
    return list(dict.fromkeys(word for word in re.findall(r"\w+", text) if word in CLASSES))
