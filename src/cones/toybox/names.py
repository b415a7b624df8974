"""Names: words that each stand for one look, as brands, breeds and characters do in real captions.

A word before a noun can say how the noun looks: the diffusion model learns that from the names, and
a subject's rare token is a name that it has never met. No name is a word of the language, and no
subject has the look of a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from cones.toybox.world import CLASSES, COUNTS, Look, sample_look

NUM_NAMES = 240
NAMED_SHARE = 0.35  # of the things in training pictures have the look of a name
_SEED = 7_000_001
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


@cache
def named_looks() -> dict[str, Look]:
    """Every name with its look. No two names agree in colours, pattern and accessory."""
    found: dict[str, Look] = {}
    rng = np.random.default_rng(_SEED)
    while len(found) < NUM_NAMES:
        letters = (_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS)
        name = "".join(rng.choice(list(kind)) for kind in letters)
        look = sample_look(rng)
        if name not in found and nameable(look) not in map(nameable, found.values()):
            found[name] = look
    return found


def nameable(look: Look) -> tuple[str, str, str, str]:
    """What captions can say of a look but its proportions: colours, pattern, accessory."""
    return look.main, look.second, look.pattern, look.accessory


def name_of(look: Look) -> str | None:
    """The name that stands for exactly this look, if there is one."""
    return _names().get(look)


@cache
def _names() -> dict[Look, str]:
    return {look: name for name, look in named_looks().items()}


@cache
def _taken() -> frozenset[tuple[str, str, str, str]]:
    return frozenset(map(nameable, named_looks().values()))


def unnamed_look(rng: np.random.Generator) -> Look:
    """Draws a look for a subject: not like that of any name."""
    while True:
        look = sample_look(rng)
        if nameable(look) not in _taken():
            return look


def sample_things(rng: np.random.Generator) -> Sequence[tuple[str, Look]]:
    """Draws what a training picture holds: one to four classes, some with the look of a name."""
    count = int(rng.choice(list(COUNTS), p=list(COUNTS.values())))
    looks = list(named_looks().values())
    return [
        (
            str(noun),
            looks[rng.integers(len(looks))] if rng.random() < NAMED_SHARE else sample_look(rng),
        )
        for noun in rng.choice(CLASSES, count, replace=False)
    ]
