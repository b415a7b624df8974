"""How each class of thing is drawn: a few shaded parts on a square canvas of 100 units.

The parts of the *main* material carry the look's first colour and its pattern, those of the
*second* material the second colour. Every drawing faces right and stands on the line y = 98;
`TOPS` says where an accessory sits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from cones.toybox.world import Look, Rgb

CANVAS = 128  # pixels of a thing's own canvas
MARGIN = 18  # units above the thing that are kept for its accessory
UNITS = 100 + MARGIN
SCALE = CANVAS / UNITS
DARK: Rgb = (38, 36, 42)
GLASS: Rgb = (186, 224, 242)
ORANGE: Rgb = (246, 150, 30)
Points = Sequence[tuple[float, float]]


class Pen:
    """Draws shaded parts of one thing. Coordinates are units, x to the right, y down."""

    def __init__(self, look: Look) -> None:
        """Prepares an empty canvas and the look's two materials."""
        self.canvas = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
        self.main = _patterned(look)
        self.main_rgb = look.main_rgb
        self.second_rgb = look.second_rgb

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, fill: Rgb | str) -> None:
        """A filled ellipse in a box. `fill` is "main", "second", "base" or a colour."""
        self._part(lambda draw: draw.ellipse(_px(((x0, y0), (x1, y1))), fill=255), fill)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: Rgb | str, r: float = 0
    ) -> None:
        """A filled box with corners of radius `r`."""
        box = _px(((x0, y0), (x1, y1)))
        self._part(lambda draw: draw.rounded_rectangle(box, r * SCALE, fill=255), fill)

    def polygon(self, points: Points, fill: Rgb | str) -> None:
        """A filled polygon."""
        self._part(lambda draw: draw.polygon(_px(points), fill=255), fill)

    def line(self, points: Points, width: float, fill: Rgb | str) -> None:
        """A thick line through the points, with round joints."""
        px = _px(points)

        def stroke(draw: ImageDraw.ImageDraw) -> None:
            draw.line(px, fill=255, width=round(width * SCALE), joint="curve")
            radius = width * SCALE / 2
            for x, y in (px[0], px[-1]):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)

        self._part(stroke, fill)

    def ring(self, x0: float, y0: float, x1: float, y1: float, width: float, fill: str) -> None:
        """The outline of an ellipse."""
        box = _px(((x0, y0), (x1, y1)))
        self._part(lambda draw: draw.ellipse(box, outline=255, width=round(width * SCALE)), fill)

    def _part(self, shape: Callable[[ImageDraw.ImageDraw], None], fill: Rgb | str) -> None:
        mask = Image.new("L", (CANVAS, CANVAS), 0)
        shape(ImageDraw.Draw(mask))
        box = mask.getbbox()
        if box is None:
            return
        mask = mask.crop(box)
        size = mask.size
        if fill == "main":
            self.canvas.paste(self.main.crop(box), box, mask)
        else:
            named = {"second": self.second_rgb, "base": self.main_rgb}
            colour = named[fill] if isinstance(fill, str) else fill
            self.canvas.paste(Image.new("RGB", size, colour), box, mask)
        dark, light = _shades()
        self.canvas.paste((0, 0, 0), box, ImageChops.multiply(mask, dark.resize(size)))
        self.canvas.paste((255, 255, 255), box, ImageChops.multiply(mask, light.resize(size)))
        rim = ImageChops.subtract(mask, _eroded(mask))
        self.canvas.paste((20, 18, 24), box, rim.point(lambda v: v * 0.55))


def _eroded(mask: Image.Image) -> Image.Image:
    grown = Image.new("L", (mask.width + 6, mask.height + 6), 0)
    grown.paste(mask, (3, 3))
    moved = [ImageChops.offset(grown, dx, dy) for dx, dy in ((2, 0), (-2, 0), (0, 2), (0, -2))]
    for other in moved:
        grown = ImageChops.darker(grown, other)
    return grown.crop((3, 3, 3 + mask.width, 3 + mask.height))


def _px(points: Points) -> list[tuple[float, float]]:
    return [(x * SCALE + CANVAS * MARGIN / UNITS / 2, (y + MARGIN) * SCALE) for x, y in points]


@cache
def _shades() -> tuple[Image.Image, Image.Image]:
    """Light from the upper left: how much black and how much white lies over a part."""
    y, x = np.mgrid[0:32, 0:32] / 31.0
    slope = 0.45 * x + 0.55 * y
    dark = 120 * np.clip(slope - 0.45, 0, 1)
    light = 170 * np.clip(1 - np.hypot(x - 0.3, y - 0.25) / 0.35, 0, 1) ** 1.5
    return tuple(Image.fromarray(a.astype(np.uint8)) for a in (dark, light))  # type: ignore[return-value]


@cache
def _pattern_mask(pattern: str) -> Image.Image:
    y, x = np.mgrid[0:CANVAS, 0:CANVAS] / SCALE
    if pattern == "striped":
        second = (x + y) % 24 < 11
    elif pattern == "dotted":
        shift = ((y // 17) % 2) * 8.5
        second = np.hypot((x + shift) % 17 - 8.5, y % 17 - 8.5) < 5.2
    elif pattern == "checked":
        second = ((x // 14) + (y // 14)) % 2 == 0
    elif pattern == "halved":
        second = x > UNITS / 2
    else:
        second = np.zeros_like(x, bool)
    return Image.fromarray((second * 255).astype(np.uint8))


def _patterned(look: Look) -> Image.Image:
    image = Image.new("RGB", (CANVAS, CANVAS), look.main_rgb)
    image.paste(look.second_rgb, (0, 0), _pattern_mask(look.pattern))
    return image


def _robot(pen: Pen) -> None:
    pen.line(((50, 14), (50, 2)), 4, DARK)
    pen.ellipse(45, -3, 55, 7, "second")
    pen.box(27, 84, 43, 98, "second", 4)
    pen.box(57, 84, 73, 98, "second", 4)
    pen.box(6, 46, 20, 78, "second", 6)
    pen.box(80, 46, 94, 78, "second", 6)
    pen.box(18, 42, 82, 88, "main", 6)
    pen.box(24, 10, 76, 42, "base", 6)
    for x in (39, 61):
        pen.ellipse(x - 8, 17, x + 8, 33, (250, 250, 250))
        pen.ellipse(x - 4, 21, x + 4, 29, DARK)


def _mug(pen: Pen) -> None:
    pen.ring(62, 30, 98, 78, 9, "second")
    pen.polygon(((12, 12), (76, 12), (72, 98), (16, 98)), "main")
    pen.ellipse(12, 4, 76, 22, "base")
    pen.ellipse(18, 7, 70, 20, (74, 46, 30))


def _car(pen: Pen) -> None:
    pen.polygon(((24, 56), (36, 28), (70, 28), (84, 56)), "base")
    pen.polygon(((32, 54), (41, 34), (52, 34), (52, 54)), GLASS)
    pen.polygon(((56, 54), (56, 34), (67, 34), (75, 54)), GLASS)
    pen.box(2, 50, 98, 86, "main", 12)
    pen.ellipse(90, 58, 98, 68, (255, 244, 170))
    for x in (25, 75):
        pen.ellipse(x - 14, 70, x + 14, 98, DARK)
        pen.ellipse(x - 7, 77, x + 7, 91, "second")


def _house(pen: Pen) -> None:
    pen.box(68, 12, 80, 40, "second")
    pen.box(14, 44, 86, 98, "main")
    pen.polygon(((4, 48), (50, 4), (96, 48)), "second")
    pen.box(42, 66, 60, 98, (92, 58, 36))
    pen.box(21, 58, 36, 74, (252, 240, 160))
    pen.box(66, 58, 81, 74, (252, 240, 160))


def _tree(pen: Pen) -> None:
    pen.polygon(((43, 60), (57, 60), (63, 98), (37, 98)), "second")
    pen.ellipse(6, 30, 54, 74, "main")
    pen.ellipse(46, 30, 94, 74, "main")
    pen.ellipse(20, 0, 80, 56, "main")


def _fish(pen: Pen) -> None:
    pen.polygon(((30, 62), (0, 32), (9, 62), (0, 92)), "second")
    pen.polygon(((36, 44), (50, 20), (76, 42)), "second")
    pen.polygon(((44, 82), (50, 98), (66, 84)), "second")
    pen.ellipse(16, 36, 99, 90, "main")
    pen.line(((70, 46), (65, 62), (70, 78)), 4, DARK)
    pen.ellipse(75, 46, 91, 62, (250, 250, 250))
    pen.ellipse(80, 50, 89, 59, DARK)


def _ball(pen: Pen) -> None:
    pen.ellipse(6, 10, 94, 98, "main")
    pen.ellipse(40, 44, 60, 64, "second")


def _backpack(pen: Pen) -> None:
    pen.ring(36, -4, 64, 22, 6, "second")
    pen.box(4, 38, 22, 88, "second", 8)
    pen.box(78, 38, 96, 88, "second", 8)
    pen.box(14, 8, 86, 98, "main", 24)
    pen.box(26, 56, 74, 90, "second", 8)
    pen.line(((28, 66), (72, 66)), 3, DARK)
    pen.line(((22, 34), (78, 34)), 3, DARK)


def _teapot(pen: Pen) -> None:
    pen.ring(-2, 34, 38, 82, 8, "second")
    pen.polygon(((70, 60), (88, 28), (99, 28), (84, 84)), "second")
    pen.ellipse(16, 26, 84, 98, "main")
    pen.ellipse(32, 18, 68, 36, "second")
    pen.ellipse(44, 8, 56, 20, DARK)


def _dog(pen: Pen) -> None:
    pen.line(((14, 52), (4, 34)), 7, "base")
    for x in (20, 33, 56, 68):
        pen.box(x - 5, 70, x + 5, 98, "base", 4)
    pen.box(10, 46, 74, 80, "main", 16)
    pen.ellipse(52, 14, 88, 56, "base")
    pen.box(74, 32, 99, 52, "base", 8)
    pen.ellipse(91, 31, 100, 41, DARK)
    pen.ellipse(50, 18, 64, 54, "second")
    pen.ellipse(73, 24, 80, 32, DARK)
    pen.line(((60, 55), (74, 58)), 5, "second")


def _cat(pen: Pen) -> None:
    pen.line(((72, 90), (92, 82), (92, 56)), 8, "base")
    pen.ellipse(22, 46, 78, 98, "main")
    pen.polygon(((24, 26), (24, -2), (46, 14)), "second")
    pen.polygon(((76, 26), (76, -2), (54, 14)), "second")
    pen.ellipse(20, 8, 80, 58, "base")
    for x in (38, 62):
        pen.ellipse(x - 6, 24, x + 6, 36, (232, 240, 120))
        pen.ellipse(x - 2, 24, x + 2, 36, DARK)
    pen.polygon(((45, 40), (55, 40), (50, 46)), (236, 120, 130))
    pen.line(((8, 38), (32, 43)), 2, DARK)
    pen.line(((92, 38), (68, 43)), 2, DARK)


def _duck(pen: Pen) -> None:
    for x in (32, 50):
        pen.box(x, 84, x + 5, 96, ORANGE)
        pen.box(x, 93, x + 14, 98, ORANGE, 2)
    pen.polygon(((14, 66), (0, 40), (34, 54)), "base")
    pen.ellipse(6, 46, 80, 90, "main")
    pen.ellipse(44, 6, 82, 52, "base")
    pen.polygon(((76, 20), (100, 28), (100, 35), (78, 40)), ORANGE)
    pen.ellipse(60, 16, 71, 28, (250, 250, 250))
    pen.ellipse(63, 18, 70, 27, DARK)
    pen.ellipse(20, 54, 56, 80, "second")


DRAWINGS: dict[str, Callable[[Pen], None]] = {
    "robot": _robot, "mug": _mug, "car": _car, "house": _house, "tree": _tree, "fish": _fish,
    "ball": _ball, "backpack": _backpack, "teapot": _teapot, "dog": _dog, "cat": _cat,
    "duck": _duck,
}  # fmt: skip
TOPS = {
    "robot": (50, 10), "mug": (44, 8), "car": (53, 28), "house": (50, 8), "tree": (50, 4),
    "fish": (60, 34), "ball": (50, 11), "backpack": (50, 8), "teapot": (50, 14),
    "dog": (68, 16), "cat": (50, 9), "duck": (63, 8),
}  # fmt: skip


def _accessory(pen: Pen, kind: str, x: float, y: float) -> None:
    if kind == "hat":
        pen.box(x - 11, y - 20, x + 11, y + 2, "second")
        pen.box(x - 20, y - 3, x + 20, y + 4, "second", 3)
    elif kind == "crown":
        tips = ((-17, 4), (-19, -18), (-9, -7), (0, -20), (9, -7), (19, -18), (17, 4))
        pen.polygon([(x + dx, y + dy) for dx, dy in tips], (252, 206, 40))
    elif kind == "bow":
        pen.polygon(((x, y - 4), (x - 20, y - 16), (x - 20, y + 8)), "second")
        pen.polygon(((x, y - 4), (x + 20, y - 16), (x + 20, y + 8)), "second")
        pen.ellipse(x - 6, y - 10, x + 6, y + 2, "second")
    elif kind == "flag":
        pen.line(((x, y + 2), (x, y - 20)), 3, DARK)
        pen.polygon(((x, y - 21), (x + 26, y - 13), (x, y - 5)), "second")


def draw_thing(noun: str, look: Look) -> Image.Image:
    """Draws one thing facing right.

    Returns:
        RGBA image of `CANVAS` x `CANVAS` pixels; the thing itself is `100 / UNITS` of its height,
        its foot near the lower edge.
    """
    pen = Pen(look)
    DRAWINGS[noun](pen)
    _accessory(pen, look.accessory, *TOPS[noun])
    return pen.canvas
