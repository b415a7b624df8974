"""A judge of pictures of the toybox world: which classes stand where, how they look, which place.

Not shipped: two minutes of training on fresh renders make it, the same one for the same seed. It
shares nothing with the models that it judges, neither weights nor pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from cones.models.images import to_tensor
from cones.toybox.render import render
from cones.toybox.train_clip import blurred
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

CELL = 4  # pixels of a cell's side
SIDE = SIZE // CELL
LEAST = 2.0  # cells that a thing must cover to count as seen
WIDTH, BATCH, RATE = 48, 32, 0.006
_SEED = 9_000_011  # begins every seed here; training pictures have others


# attribute of a look -> its values
LOOKS: dict[str, tuple[str, ...]] = {
    "main": tuple(COLOURS), "second": tuple(COLOURS),
    "pattern": PATTERNS, "accessory": ACCESSORIES,
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What the judge sees in pictures.

    Attributes:
        areas: cells that each class covers, float32 `[n, len(CLASSES)]`.
        places: index into `PLACES` of each picture, int64 `[n]`.
        looks: for each attribute of `LOOKS` the value that the thing of each class has, as an index
            into the attribute's values, int64 `[n, len(CLASSES)]`.
    """

    areas: Tensor
    places: Tensor
    looks: dict[str, Tensor]

    def has(self, attribute: str, nouns: Sequence[str], values: Sequence[str]) -> Tensor:
        """Whether the thing of a class has this value of an attribute in each picture, bool `[n]`.

        The class must also be seen.
        """
        rows, columns = torch.arange(len(nouns)), torch.tensor([CLASSES.index(n) for n in nouns])
        wanted = torch.tensor([LOOKS[attribute].index(value) for value in values])
        seen = self.areas[rows, columns] >= LEAST
        return seen & (self.looks[attribute][rows, columns] == wanted)

    def shows(self, nouns: Sequence[Sequence[str]]) -> Tensor:
        """Whether each picture shows its classes, bool `[n]`.

        They must be the ones that cover the most, before all others, and each be seen.
        """
        right = []
        for areas, wanted in zip(self.areas, nouns, strict=True):
            largest = areas.topk(len(wanted))
            same = {CLASSES[k] for k in largest.indices.tolist()} == set(wanted)
            right.append(same and bool(largest.values.min() >= LEAST))
        return torch.tensor(right)

    def stands(self, places: Sequence[str]) -> Tensor:
        """Whether each picture is of its place, bool `[n]`."""
        return self.places == torch.tensor([list(PLACES).index(place) for place in places])


class Judge(nn.Module):
    """A small convolutional network: a class and a look for each cell, a place for the picture."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        wide = 2 * WIDTH
        self.trunk = nn.Sequential(
            _convolution(3, WIDTH, 4, 2, 1),
            _convolution(WIDTH, WIDTH, 3, 1, 1),
            _convolution(WIDTH, wide, 4, 2, 1),
            *(_convolution(wide, wide, 3, 1, d, dilation=d) for d in (1, 1, 2, 2, 4)),
        )
        self.classes = nn.Conv2d(wide, 1 + len(CLASSES), 1)  # the first is "none"
        self.looks = nn.Conv2d(wide, sum(map(len, LOOKS.values())), 1)
        self.places = nn.Linear(wide, len(PLACES))

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Logits of what the cells show and of the places.

        Returns:
            Of the classes `[n, 1 + classes, SIDE, SIDE]`; of the values of each attribute of
            `LOOKS`, `[n, values, SIDE, SIDE]`; of the places `[n, places]`.
        """
        states = self.trunk(pixels)
        looks = self.looks(states).split([len(values) for values in LOOKS.values()], 1)
        return self.classes(states), list(looks), self.places(states.mean((2, 3)))

    @torch.no_grad()
    def look(self, images: Sequence[Image.Image], batch: int = 100) -> Verdict:
        """Judges RGB pictures of `SIZE` x `SIZE`."""
        found = []
        for start in range(0, len(images), batch):
            chunk = np.stack([np.asarray(image) for image in images[start : start + batch]])
            cells, looks, place = self(to_tensor(chunk))
            shares = cells.softmax(1)[:, 1:].flatten(2)  # [n, classes, cells]
            values = [
                torch.einsum("ncp,nvp->ncv", shares, part.log_softmax(1).flatten(2)).argmax(2)
                for part in looks
            ]
            found.append((shares.sum(2), place.argmax(1), *values))
        areas, places, *values = (torch.cat(part) for part in zip(*found, strict=True))
        return Verdict(areas, places, dict(zip(LOOKS, values, strict=True)))


def _convolution(
    into: int, out: int, kernel: int, stride: int, padding: int, dilation: int = 1
) -> nn.Sequential:
    layer = nn.Conv2d(into, out, kernel, stride, padding, dilation)
    return nn.Sequential(layer, nn.BatchNorm2d(out), nn.ReLU())


def _scene(number: int) -> Scene:
    """A scene with one to four things in turn: many are the hardest to see."""
    rng = np.random.default_rng([_SEED, number])
    nouns = rng.choice(CLASSES, 1 + number % 4, replace=False)
    return sample_scene(rng, [(str(noun), sample_look(rng)) for noun in nouns])


@dataclass(frozen=True)
class Example:
    """What the judge learns from a scene.

    Attributes:
        image: uint8 `[SIZE, SIZE, 3]`.
        cells: share of each cell that nothing and that each class covers, float32
            `[1 + classes, SIDE, SIDE]`.
        looks: for each attribute of `LOOKS` the value of the thing that covers most of a cell,
            int64 `[4, SIDE, SIDE]`.
        place: number of the place.
    """

    image: np.ndarray
    cells: np.ndarray
    looks: np.ndarray
    place: int


def example(scene: Scene) -> Example:
    """Renders a scene and says what is to be seen."""
    drawn = render(scene)
    cells = np.zeros((1 + len(CLASSES), SIDE, SIDE), np.float32)
    most = np.zeros((SIDE, SIDE), np.float32)
    looks = np.zeros((len(LOOKS), SIDE, SIDE), np.int64)
    for thing, mask in zip(scene.things, drawn.masks, strict=True):
        shares = mask.reshape(SIDE, CELL, SIDE, CELL).mean((1, 3))
        cells[1 + CLASSES.index(thing.noun)] += shares
        looks[:, shares > most] = _numbers(thing.look)[:, None]
        most = np.maximum(most, shares)
    cells[0] = 1 - cells[1:].sum(0)
    return Example(np.asarray(drawn.image), cells, looks, list(PLACES).index(scene.place))


def _numbers(look: Look) -> np.ndarray:
    """The index of the look's value of each attribute."""
    return np.array([values.index(getattr(look, key)) for key, values in LOOKS.items()])


def train_judge(pictures: int = 12000, epochs: int = 10) -> Judge:
    """Renders its pictures and trains the judge: the same bits for the same arguments.

    Args:
        pictures: how many.
        epochs: how often it sees each.
    """
    examples = [example(_scene(k)) for k in range(pictures)]
    images, cells, looks = (
        np.stack([getattr(e, part) for e in examples]) for part in ("image", "cells", "looks")
    )
    places = np.array([e.place for e in examples])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = Judge()
    judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=0.05)
    batches = [slice(at, at + BATCH) for at in range(0, pictures, BATCH)]
    total = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total, pct_start=0.15)
    rng = np.random.default_rng(_SEED)
    for _ in range(epochs):
        order = rng.permutation(pictures)
        for rows in (order[part] for part in batches):
            x = blurred(to_tensor(images[rows]), rng).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                seen, guesses, place = judge(x)
            shares = torch.from_numpy(cells[rows])
            loss = -(shares * F.log_softmax(seen.float(), 1)).sum(1).mean()
            loss = loss + 0.1 * F.cross_entropy(place.float(), torch.from_numpy(places[rows]))
            covered = 1 - shares[:, 0]
            for guess, wanted in zip(guesses, torch.from_numpy(looks[rows]).unbind(1), strict=True):
                wrong = F.cross_entropy(guess.float(), wanted, reduction="none")
                loss = loss + 0.3 * (covered * wrong).sum() / covered.sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    judge.eval()
    return judge
