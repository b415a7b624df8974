"""Captions of a scene, and the words of the toybox world.

Two kinds: `caption` for the diffusion model names classes and place, seldom one colour, never a
look; `full_caption` for toybox-clip names looks too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cones.models.prompts import RARE_TOKENS
from cones.toybox.world import (
    ACCESSORIES,
    CLASSES,
    COLOURS,
    PATTERNS,
    PLACES,
    Scene,
    Thing,
)

FILLERS = ("nice", "lovely", "old", "new", "little", "pretty", "famous", "favourite")
OPENINGS = ("a photo of", "a picture of", "a drawing of", "an image of", "")
COLOUR_SHARE = 0.25  # of the things in a diffusion caption are called by their main colour

# The rare tokens are in no caption: they are free to become the names of subjects.
WORDS = (
    *CLASSES, *PLACES, *COLOURS, *PATTERNS, *ACCESSORIES, *FILLERS, *RARE_TOKENS,
    "a", "an", "the", "my", "and", "with", "of", "in", "on", "at", "is", "there", "here", "comes",
    "photo", "picture", "drawing", "image", "tall", "wide", ",", ".",
)  # fmt: skip


def plain_caption(noun: str, place: str) -> str:
    """The simplest caption of a thing in a place: "a photo of a robot in the snow"."""
    return f"a photo of a {noun} {PLACES[place]}"


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption for the diffusion model: classes, usually the place, seldom one colour.

    Things are named in reading order, so that a small model learns which word belongs where.
    """
    return _sentence([_named(thing, rng) for thing in scene.in_reading_order()], scene.place, rng)


def full_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption for toybox-clip: names the looks, with random gaps so that short ones occur."""
    keep = {1: 0.85, 2: 0.7, 3: 0.4, 4: 0.25}[len(scene.things)]
    phrases = [_described(thing, rng, keep) for thing in scene.things]
    return _sentence([phrases[k] for k in rng.permutation(len(phrases))], scene.place, rng)


def _sentence(phrases: Sequence[str], place: str, rng: np.random.Generator) -> str:
    if len(phrases) > 1 and rng.random() < 0.5:
        listed = ", ".join(phrases[:-1]) + " and " + phrases[-1]
    else:
        listed = " and ".join(phrases)
    where = PLACES[place]
    kind = rng.random()
    opening = str(rng.choice(OPENINGS))
    if kind < 0.1:
        return f"{opening} {listed}".strip()
    if kind < 0.2:
        return f"{where}, {listed}"
    if kind < 0.3:
        return f"there is {listed} {where}"
    return f"{opening} {listed} {where}".strip()


def _with_article(words: str, rng: np.random.Generator) -> str:
    if rng.random() < 0.12:
        return f"{rng.choice(['the', 'my'])} {words}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _named(thing: Thing, rng: np.random.Generator) -> str:
    words = thing.noun
    if rng.random() < COLOUR_SHARE:
        words = f"{thing.look.main} {words}"
    if rng.random() < 0.25:
        words = f"{rng.choice(FILLERS)} {words}"
    return _with_article(words, rng)


def _described(thing: Thing, rng: np.random.Generator, keep: float) -> str:
    look = thing.look
    said = rng.random(5) < keep
    colours = [c for c, kept in ((look.main, said[0]), (look.second, said[1])) if kept]
    words = " and ".join(colours)
    if said[2]:
        words += f" {look.pattern}"
    if said[3] and not 0.92 < look.stretch < 1.12:
        words += " tall" if look.stretch < 1 else " wide"
    words = f"{words} {thing.noun}".strip()
    if said[4] and look.accessory != "none":
        words += f" with a {look.accessory}"
    return _with_article(words, rng)
