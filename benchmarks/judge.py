"""A judge of pictures of the toybox world: which classes stand where, and in which place.

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
from cones.toybox.world import CLASSES, PLACES, SIZE, Scene, sample_look, sample_scene

CELL = 4  # pixels of a cell's side
SIDE = SIZE // CELL
LEAST = 2.0  # cells that a thing must cover to count as seen
WIDTH, BATCH, RATE = 24, 32, 0.01
_SEED = 9_000_011  # begins every seed here; training pictures have others


@dataclass(frozen=True)
class Verdict:
    """What the judge sees in pictures.

    Attributes:
        areas: cells that each class covers, float32 `[n, len(CLASSES)]`.
        places: index into `PLACES` of each picture, int64 `[n]`.
    """

    areas: Tensor
    places: Tensor

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
    """A small convolutional network: a class for each cell, a place for the picture."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        wide = 2 * WIDTH
        self.trunk = nn.Sequential(
            _convolution(3, WIDTH, 4, 2, 1),
            _convolution(WIDTH, wide, 4, 2, 1),
            _convolution(wide, wide, 3, 1, 1),
            _convolution(wide, wide, 3, 1, 2, dilation=2),
            _convolution(wide, wide, 3, 1, 2, dilation=2),
        )
        self.classes = nn.Conv2d(wide, 1 + len(CLASSES), 1)  # the first is "none"
        self.places = nn.Linear(wide, len(PLACES))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the cells `[n, 1 + classes, SIDE, SIDE]` and of the places `[n, places]`."""
        states = self.trunk(pixels)
        return self.classes(states), self.places(states.mean((2, 3)))

    @torch.no_grad()
    def look(self, images: Sequence[Image.Image], batch: int = 100) -> Verdict:
        """Judges RGB pictures of `SIZE` x `SIZE`."""
        areas, places = [], []
        for start in range(0, len(images), batch):
            chunk = np.stack([np.asarray(image) for image in images[start : start + batch]])
            cells, place = self(to_tensor(chunk))
            areas.append(cells.softmax(1)[:, 1:].sum((2, 3)))
            places.append(place.argmax(1))
        return Verdict(torch.cat(areas), torch.cat(places))


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


def example(scene: Scene) -> tuple[np.ndarray, np.ndarray, int]:
    """What the judge learns from a scene.

    Returns:
        The picture, uint8 `[SIZE, SIZE, 3]`; the share of each cell that nothing and that each
        class covers, float32 `[1 + classes, SIDE, SIDE]`; the number of the place.
    """
    drawn = render(scene)
    cells = np.zeros((1 + len(CLASSES), SIDE, SIDE), np.float32)
    for thing, mask in zip(scene.things, drawn.masks, strict=True):
        shares = mask.reshape(SIDE, CELL, SIDE, CELL).mean((1, 3))
        cells[1 + CLASSES.index(thing.noun)] += shares
    cells[0] = 1 - cells[1:].sum(0)
    return np.asarray(drawn.image), cells, list(PLACES).index(scene.place)


def train_judge(pictures: int = 4000, epochs: int = 20) -> Judge:
    """Renders its pictures and trains the judge: the same bits for the same arguments.

    Args:
        pictures: how many.
        epochs: how often it sees each.
    """
    scenes = [_scene(k) for k in range(pictures)]
    images, cells, places = (np.stack(part) for part in zip(*map(example, scenes), strict=True))
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
                seen, place = judge(x)
            shares = torch.from_numpy(cells[rows])
            loss = -(shares * F.log_softmax(seen.float(), 1)).sum(1).mean()
            loss = loss + 0.1 * F.cross_entropy(place.float(), torch.from_numpy(places[rows]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    judge.eval()
    return judge
