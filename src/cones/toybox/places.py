"""How each place is drawn: sky, ground and a few things that belong there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from cones.toybox.world import Rgb

Draw = ImageDraw.ImageDraw


class Ground:
    """A canvas of `size` x `size` pixels with a horizon; helpers take shares of the side."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        """Prepares an empty canvas."""
        self.image = Image.new("RGB", (size, size))
        self.draw = ImageDraw.Draw(self.image)
        self.size = size
        self.rng = rng
        self.horizon = float(rng.uniform(0.36, 0.48))

    def jitter(self, colour: Rgb, amount: int = 9) -> Rgb:
        """The colour, a little changed."""
        red, green, blue = np.clip(
            np.array(colour) + self.rng.integers(-amount, amount + 1), 0, 255
        ).tolist()
        return red, green, blue

    def fade(self, y0: float, y1: float, top: Rgb, bottom: Rgb) -> None:
        """A vertical gradient over the whole width."""
        a, b = round(y0 * self.size), round(y1 * self.size)
        ramp = np.linspace(np.array(top, float), np.array(bottom, float), max(b - a, 1))
        band = np.repeat(ramp[:, None, :], self.size, 1).astype(np.uint8)
        self.image.paste(Image.fromarray(band), (0, a))

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Rgb) -> None:
        """A filled box."""
        s = self.size
        self.draw.rectangle((x0 * s, y0 * s, x1 * s, y1 * s), fill=fill)

    def disc(self, x: float, y: float, rx: float, ry: float, fill: Rgb) -> None:
        """A filled ellipse around a point."""
        s = self.size
        self.draw.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=fill)

    def polygon(self, points: list[tuple[float, float]], fill: Rgb) -> None:
        """A filled polygon."""
        self.draw.polygon([(x * self.size, y * self.size) for x, y in points], fill=fill)

    def scatter(self, count: int, y0: float, y1: float) -> list[tuple[float, float]]:
        """Random points between two heights."""
        xs, ys = self.rng.uniform(0, 1, count), self.rng.uniform(y0, y1, count)
        return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _beach(g: Ground) -> None:
    g.fade(0, g.horizon, g.jitter((112, 190, 240)), g.jitter((190, 228, 250)))
    g.fade(g.horizon - 0.12, g.horizon + 0.06, g.jitter((28, 112, 186)), g.jitter((70, 180, 214)))
    g.fade(g.horizon + 0.06, 1, g.jitter((246, 226, 170)), g.jitter((226, 194, 128)))
    g.disc(float(g.rng.uniform(0.1, 0.9)), 0.1, 0.07, 0.07, (255, 240, 150))
    for x, y in g.scatter(5, g.horizon - 0.08, g.horizon + 0.03):
        g.box(x, y, x + 0.1, y + 0.008, (200, 232, 246))


def _forest(g: Ground) -> None:
    g.fade(0, g.horizon, g.jitter((70, 116, 84)), g.jitter((96, 140, 92)))
    for x, _ in sorted(g.scatter(9, 0, 1)):
        top, wide = float(g.rng.uniform(-0.05, 0.12)), float(g.rng.uniform(0.08, 0.13))
        g.box(x - 0.015, g.horizon - 0.1, x + 0.015, g.horizon + 0.04, (74, 50, 32))
        g.polygon(
            [(x - wide, g.horizon - 0.02), (x, top), (x + wide, g.horizon - 0.02)],
            g.jitter((22, 78, 44), 16),
        )
    g.fade(g.horizon, 1, g.jitter((64, 92, 40)), g.jitter((44, 66, 30)))
    for x, y in g.scatter(14, g.horizon + 0.03, 0.98):
        g.disc(x, y, 0.02, 0.008, g.jitter((96, 74, 38), 14))


def _snow(g: Ground) -> None:
    g.fade(0, g.horizon, g.jitter((168, 188, 212)), g.jitter((206, 218, 232)))
    peaks = [(-0.1, g.horizon), (0.15, 0.14), (0.4, g.horizon), (0.7, 0.1), (1.1, g.horizon)]
    shift = float(g.rng.uniform(-0.15, 0.15))
    g.polygon([(x + shift, y) for x, y in peaks], g.jitter((146, 164, 192)))
    g.fade(g.horizon, 1, g.jitter((246, 249, 253)), g.jitter((220, 230, 244)))
    for x, y in g.scatter(26, 0, 1):
        g.disc(x, y, 0.011, 0.011, (255, 255, 255))


def _city(g: Ground) -> None:
    g.fade(0, g.horizon, g.jitter((182, 190, 202)), g.jitter((214, 214, 216)))
    x = -0.05
    while x < 1:
        wide, top = float(g.rng.uniform(0.12, 0.2)), float(g.rng.uniform(0.02, 0.2))
        g.box(x, top, x + wide, g.horizon + 0.1, g.jitter((112, 108, 118), 26))
        for wy in np.arange(top + 0.04, g.horizon, 0.075):
            for wx in np.arange(x + 0.025, x + wide - 0.03, 0.055):
                g.box(wx, wy, wx + 0.024, wy + 0.035, g.jitter((244, 224, 150), 10))
        x += wide + 0.012
    g.box(0, g.horizon + 0.06, 1, g.horizon + 0.14, g.jitter((170, 168, 166)))
    g.fade(g.horizon + 0.14, 1, g.jitter((88, 88, 94)), g.jitter((66, 66, 72)))
    y, start = float(g.rng.uniform(0.72, 0.82)), float(g.rng.uniform(-0.2, 0))
    for k in range(5):
        g.box(start + 0.28 * k, y, start + 0.28 * k + 0.15, y + 0.022, (236, 232, 214))


def _desert(g: Ground) -> None:
    g.fade(0, g.horizon, g.jitter((250, 206, 130)), g.jitter((252, 228, 170)))
    g.disc(float(g.rng.uniform(0.1, 0.9)), 0.12, 0.08, 0.08, (255, 250, 214))
    g.fade(g.horizon, 1, g.jitter((226, 150, 74)), g.jitter((198, 112, 52)))
    for x, _ in g.scatter(3, 0, 1):
        g.disc(x, g.horizon + 0.03, 0.3, float(g.rng.uniform(0.04, 0.1)), g.jitter((216, 138, 66)))
    for x, _ in g.scatter(2, 0, 1):
        y = g.horizon + 0.03
        green = g.jitter((64, 122, 66))
        g.box(x - 0.016, y - 0.2, x + 0.016, y, green)
        g.box(x - 0.06, y - 0.12, x + 0.06, y - 0.095, green)
        g.box(x - 0.065, y - 0.17, x - 0.04, y - 0.095, green)
        g.box(x + 0.04, y - 0.15, x + 0.065, y - 0.095, green)


def _night(g: Ground) -> None:
    g.fade(0, g.horizon, g.jitter((10, 12, 42)), g.jitter((34, 36, 88)))
    for x, y in g.scatter(20, 0, g.horizon):
        g.disc(x, y, 0.009, 0.009, (240, 240, 214))
    x = float(g.rng.uniform(0.12, 0.88))
    g.disc(x, 0.13, 0.075, 0.075, (246, 244, 212))
    g.disc(x + 0.035, 0.115, 0.06, 0.06, (18, 20, 54))
    g.fade(g.horizon, 1, g.jitter((36, 44, 66)), g.jitter((20, 24, 42)))


def _kitchen(g: Ground) -> None:
    wall = g.jitter((240, 222, 196))
    g.fade(0, g.horizon + 0.08, wall, wall)
    line = g.jitter((206, 184, 156))
    for k in np.arange(0, 1.01, 0.11):
        g.box(k, 0, k + 0.008, g.horizon + 0.08, line)
        if k < g.horizon + 0.05:
            g.box(0, k, 1, k + 0.008, line)
    x = float(g.rng.uniform(0.05, 0.65))
    g.box(x, 0.04, x + 0.3, 0.3, (250, 250, 246))
    g.box(x + 0.025, 0.065, x + 0.275, 0.275, g.jitter((150, 208, 240)))
    g.box(x + 0.14, 0.04, x + 0.16, 0.3, (250, 250, 246))
    g.fade(g.horizon + 0.08, 1, g.jitter((176, 116, 66)), g.jitter((142, 88, 46)))
    for y in np.arange(g.horizon + 0.2, 1, 0.14):
        g.box(0, y, 1, y + 0.012, (116, 70, 36))


def _meadow(g: Ground) -> None:
    g.fade(0, g.horizon, g.jitter((92, 170, 240)), g.jitter((176, 218, 250)))
    for x, y in g.scatter(3, 0.06, 0.22):
        for dx in (-0.06, 0, 0.06):
            g.disc(x + dx, y, 0.06, 0.035, (250, 252, 255))
    g.fade(g.horizon, 1, g.jitter((126, 200, 74)), g.jitter((84, 164, 52)))
    petals = ((250, 240, 90), (250, 130, 160), (255, 255, 255))
    for k, (x, y) in enumerate(g.scatter(18, g.horizon + 0.05, 0.98)):
        g.disc(x, y, 0.014, 0.014, petals[k % 3])


DRAWINGS: dict[str, Callable[[Ground], None]] = {
    "beach": _beach, "forest": _forest, "snow": _snow, "city": _city, "desert": _desert,
    "night": _night, "kitchen": _kitchen, "meadow": _meadow,
}  # fmt: skip


def draw_place(place: str, size: int, seed: int) -> Image.Image:
    """Draws an empty place. Returns an RGB image of `size` x `size` pixels."""
    ground = Ground(size, np.random.default_rng(seed))
    DRAWINGS[place](ground)
    return ground.image
