"""What exists in the toybox world: classes, scenes, looks, and where things stand in a picture.

A picture is a `Scene`: one place and one to four `Thing`s. A thing has a class, which captions
name, and a `Look` (two colours, a pattern, proportions, an accessory), which they do not. A
*subject* is one class with one look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SIZE = 64  # pixels of a picture's side

CLASSES = (
    "robot", "mug", "car", "house", "tree", "fish",
    "ball", "backpack", "teapot", "dog", "cat", "duck",
)  # fmt: skip

# place -> how a caption says it
PLACES = {
    "beach": "on the beach",
    "forest": "in the forest",
    "snow": "in the snow",
    "city": "in the city",
    "desert": "in the desert",
    "night": "at night",
    "kitchen": "in the kitchen",
    "meadow": "in the meadow",
}

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (212, 42, 44),
    "orange": (242, 138, 28),
    "yellow": (250, 214, 48),
    "green": (56, 158, 66),
    "teal": (26, 172, 172),
    "blue": (44, 84, 214),
    "purple": (132, 66, 184),
    "pink": (246, 138, 190),
    "brown": (128, 82, 46),
    "white": (240, 240, 238),
    "black": (44, 44, 50),
}

TINT = 20  # how far each channel of a look's colour may be from the named one

PATTERNS = ("plain", "striped", "dotted", "checked", "halved")
ACCESSORIES = ("none", "hat", "crown", "bow", "flag")

# How many things a training picture holds, with its probability.
COUNTS = {1: 0.45, 2: 0.3, 3: 0.12, 4: 0.13}
# For each count: smallest and largest side of a thing in pixels.
SIDES = {1: (26, 42), 2: (22, 30), 3: (18, 25), 4: (16, 21)}
# For each count: (x, y) of the middle of a thing's foot, as shares of the picture.
SLOTS = {
    1: ((0.5, 0.86),),
    2: ((0.27, 0.86), (0.73, 0.86)),
    3: ((0.19, 0.9), (0.5, 0.72), (0.81, 0.9)),
    4: ((0.27, 0.58), (0.73, 0.58), (0.25, 0.94), (0.75, 0.94)),
}
WANDER = {1: (0.18, 0.1), 2: (0.05, 0.08), 3: (0.03, 0.05), 4: (0.05, 0.03)}

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """One way for a thing to look: what no caption of the diffusion model names in full."""

    main: str
    second: str
    pattern: str
    accessory: str
    stretch: float  # width over height
    main_rgb: Rgb
    second_rgb: Rgb

    @staticmethod
    def from_dict(fields: dict[str, Any]) -> Look:
        """Rebuilds a look from `as_dict`, as `metadata.jsonl` keeps it."""
        rgb = {key: tuple(fields[key]) for key in ("main_rgb", "second_rgb")}
        return Look(**{**fields, **rgb})

    def as_dict(self) -> dict[str, Any]:
        """The look as plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Thing:
    """One object in a picture: `x`, `y` the middle of its foot, `side` its height, in pixels."""

    noun: str
    look: Look
    x: float
    y: float
    side: float
    mirrored: bool

    def covers(self, cells: int) -> np.ndarray:
        """Which cells of a grid have their middle in its box: bool `[cells, cells]`.

        The box holds its accessory too.
        """
        middles = (np.arange(cells) + 0.5) * SIZE / cells
        columns = np.abs(middles - self.x) < self.side * self.look.stretch / 2
        height = self.side * (1.0 if self.look.accessory == "none" else 1.15)
        rows = (middles < self.y) & (middles > self.y - height)
        inside: np.ndarray = rows[:, None] & columns[None, :]
        return inside


@dataclass(frozen=True)
class Scene:
    """One picture: `seed` decides all that varies in the place itself."""

    place: str
    seed: int
    things: tuple[Thing, ...]

    def in_reading_order(self) -> list[Thing]:
        """From left to right; of four things, first those at the back."""
        back = sorted(self.things, key=lambda thing: thing.y)[:2] if len(self.things) == 4 else []
        return sorted(self.things, key=lambda thing: (thing not in back, thing.x))


def sample_look(rng: np.random.Generator) -> Look:
    """Draws a look; the two colours always differ."""
    main, second = (str(c) for c in rng.choice(list(COLOURS), 2, replace=False))
    accessory = "none" if rng.random() < 0.3 else str(rng.choice(ACCESSORIES[1:]))
    return Look(
        main=main,
        second=second,
        pattern=str(rng.choice(PATTERNS)),
        accessory=accessory,
        stretch=round(float(rng.uniform(0.8, 1.25)), 3),
        main_rgb=_tinted(main, rng),
        second_rgb=_tinted(second, rng),
    )


def _tinted(colour: str, rng: np.random.Generator) -> Rgb:
    shifted = np.array(COLOURS[colour]) + rng.integers(-TINT, TINT + 1, 3)
    red, green, blue = np.clip(shifted, 0, 255).tolist()
    return red, green, blue


def sample_scene(
    rng: np.random.Generator,
    things: Sequence[tuple[str, Look]] | None = None,
    place: str | None = None,
) -> Scene:
    """Draws a picture: how many things, which, where and how large.

    Args:
        rng: The only source of chance.
        things: `(noun, look)` of everything in the picture (1 to 4); drawn when None, without
            two things of one class.
        place: One of `PLACES`; drawn when None.
    """
    if things is None:
        count = int(rng.choice(list(COUNTS), p=list(COUNTS.values())))
        nouns = rng.choice(CLASSES, count, replace=False)
        things = [(str(noun), sample_look(rng)) for noun in nouns]
    if place is None:
        place = str(rng.choice(list(PLACES)))
    count = len(things)
    slots = rng.permutation(np.array(SLOTS[count]))
    placed = []
    for (noun, look), slot in zip(things, slots, strict=True):
        side = float(rng.uniform(*SIDES[count]))
        x, y = (slot + rng.uniform(-1, 1, 2) * WANDER[count]) * SIZE
        half = side * max(1.0, look.stretch) / 2
        x = float(np.clip(x, half + 1, SIZE - half - 1))
        y = float(np.clip(y, side + 5, SIZE - 1))
        placed.append(Thing(noun, look, x, y, side, bool(rng.random() < 0.5)))
    placed.sort(key=lambda thing: thing.y)  # what stands nearer is drawn later
    return Scene(place, int(rng.integers(2**31)), tuple(placed))
