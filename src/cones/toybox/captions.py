"""Captions of a scene, and the words of the toybox world.

A caption is rich, as a good data set's are: it draws how much it says, from nothing to everything,
and names colours, pattern, accessory and proportions of each thing in several wordings. A look that
has a name (`cones.toybox.names`) is often called by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cones.models.prompts import RARE_TOKENS
from cones.toybox.names import name_of, named_looks
from cones.toybox.world import (
    ACCESSORIES,
    CLASSES,
    COLOURS,
    PATTERNS,
    PLACES,
    Look,
    Scene,
    Thing,
)

FILLERS = ("nice", "lovely", "old", "new", "little", "pretty", "famous", "favourite")
OPENINGS = ("a photo of", "a picture of", "a drawing of", "an image of", "")

# pattern -> adjectives ("striped robot"), and what is of the second colour ("with red stripes")
ADJECTIVES = {
    "plain": ("plain", "solid"), "striped": ("striped", "stripy"), "dotted": ("dotted", "spotted"),
    "checked": ("checked", "checkered"), "halved": ("halved", "split"),
}  # fmt: skip
PARTS = {
    "plain": ("parts",), "striped": ("stripes",), "dotted": ("dots", "spots"),
    "checked": ("checks", "squares"), "halved": ("half", "side"),
}  # fmt: skip
DETAILS = ("details", "accents")  # what the second colour is of where the pattern is not said
NARROW, WIDE = ("tall", "narrow"), ("wide", "broad")
NARROW_BELOW, WIDE_ABOVE = 0.92, 1.12  # stretches between these are not spoken of

# how much of each look a caption says: the chance of each attribute, and how often it is that
KEEP, KEEP_SHARES = (0.0, 0.35, 0.75, 1.0), (0.25, 0.2, 0.2, 0.35)
NAME_SHARE = 0.7  # of the things that have a named look are called by the name
ALONE_SHARE = 0.6  # of these without a description beside it
FILLER_SHARE = 0.15
TOGETHER_SHARE = 0.6  # of the descriptions say the colours in one place: "red and blue"

# The rare tokens are in no caption: they are free to become the names of subjects.
WORDS = (
    *CLASSES, *PLACES, *COLOURS, *PATTERNS, *ACCESSORIES, *FILLERS, *RARE_TOKENS,
    "a", "an", "the", "my", "and", "with", "of", "in", "on", "at", "is", "there", "here", "comes",
    "photo", "picture", "drawing", "image", "wearing", "one", ",", ".",
    *NARROW, *WIDE, *DETAILS,
    *(word for words in (*ADJECTIVES.values(), *PARTS.values()) for word in words
      if word not in PATTERNS),
    *named_looks(),
)  # fmt: skip


def plain_caption(noun: str, place: str) -> str:
    """The simplest caption of a thing in a place: "a photo of a robot in the snow"."""
    return f"a photo of a {noun} {PLACES[place]}"


def description(noun: str, look: Look) -> str:
    """All that captions can say of a thing: "tall red and blue striped robot with a crown"."""
    words = f"{look.main} and {look.second} {look.pattern} {noun}"
    if size := _sizes(look):
        words = f"{size[0]} {words}"
    return words if look.accessory == "none" else f"{words} with a {look.accessory}"


def caption(scene: Scene, rng: np.random.Generator, keep: float | None = None) -> str:
    """A caption of a scene.

    Things are named in reading order, so that a small model learns which word belongs where.

    Args:
        scene: what is to be seen.
        rng: draws the wording.
        keep: the chance of each attribute of a look to be said; drawn from `KEEP` when None.
    """
    if keep is None:
        keep = float(rng.choice(KEEP, p=KEEP_SHARES))
    phrases = [_with_article(_said(thing, rng, keep), rng) for thing in scene.in_reading_order()]
    return _sentence(phrases, scene.place, rng)


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


def _said(thing: Thing, rng: np.random.Generator, keep: float) -> str:
    """A thing in a caption's words, without its article."""
    name = name_of(thing.look) if rng.random() < NAME_SHARE else None
    alone = rng.random() < ALONE_SHARE
    before, after = _described(thing.look, rng, 0.0 if name and alone else keep)
    if name:
        before = [name, *before]
    if rng.random() < FILLER_SHARE:
        before = [str(rng.choice(FILLERS)), *before]
    words = " ".join([*before, thing.noun])
    return f"{words} with {' and '.join(after)}" if after else words


def _described(look: Look, rng: np.random.Generator, keep: float) -> tuple[list[str], list[str]]:
    """What is said of a look before the noun, and after it behind a "with"."""
    before, after = [], []
    main, second, pattern, size, accessory = rng.random(5) < keep
    together = rng.random() < TOGETHER_SHARE
    if size and (sizes := _sizes(look)):
        before.append(str(rng.choice(sizes)))
    if main:
        before.append(f"{look.main} and {look.second}" if second and together else look.main)
    apart = second and not (main and together)
    if pattern and (look.pattern == "plain" or not apart):
        before.append(str(rng.choice(ADJECTIVES[look.pattern])))
    if apart:
        part = str(rng.choice(PARTS[look.pattern] if pattern else DETAILS))
        one = "one " if look.pattern == "halved" and pattern else ""
        after.append(f"{one}{look.second} {part}")
    if accessory and look.accessory != "none":
        after.append(f"a {look.accessory}")
    return before, after


def _sizes(look: Look) -> tuple[str, ...]:
    """The words for its proportions, none where they are usual."""
    if look.stretch < NARROW_BELOW:
        return NARROW
    return WIDE if look.stretch > WIDE_ABOVE else ()
