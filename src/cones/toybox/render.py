"""The renderer: from a `Scene` to pixels and masks, and a subject's photographs.

`python -m cones.toybox.render --class robot --seed 123456 --num 5 --out photos/` draws a subject
that nobody has seen: its look and its photographs follow from the seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cones.errors import InputError
from cones.files.textfiles import bad_line, read_json_lines
from cones.files.writing import atomic_path, atomic_write
from cones.toybox import world
from cones.toybox.captions import plain_caption
from cones.toybox.names import unnamed_look
from cones.toybox.places import draw_place
from cones.toybox.things import UNITS, draw_thing
from cones.toybox.world import SIZE, Look, Scene, Thing

OVERSAMPLING = 2


@dataclass(frozen=True)
class Rendering:
    """A picture and where its things are.

    Attributes:
        image: RGB, `SIZE` x `SIZE`.
        masks: bool of shape `[things, SIZE, SIZE]`, in the scene's order: the pixels of which a
            thing owns the larger part.
    """

    image: Image.Image
    masks: np.ndarray


def render(scene: Scene) -> Rendering:
    """Draws a scene. The same scene gives the same pixels."""
    side = SIZE * OVERSAMPLING
    canvas = draw_place(scene.place, side, scene.seed)
    owner = Image.new("L", (side, side), 0)
    for number, thing in enumerate(scene.things, start=1):
        sprite, corner = _sprite(thing)
        _shadow(canvas, thing)
        canvas.paste(sprite, corner, sprite.getchannel("A"))
        solid = sprite.getchannel("A").point(lambda a: 255 if a > 127 else 0)
        owner.paste(number, corner, solid)
    image = canvas.resize((SIZE, SIZE), Image.Resampling.BOX)
    owners = np.asarray(owner)
    masks = [_majority(owners == number) for number in range(1, len(scene.things) + 1)]
    if scene.place == "night":  # the light of the night lies over everything
        image = Image.blend(image, Image.new("RGB", image.size, (16, 18, 60)), 0.22)
    return Rendering(image, np.stack(masks))


def _sprite(thing: Thing) -> tuple[Image.Image, tuple[int, int]]:
    sprite = draw_thing(thing.noun, thing.look)
    if thing.mirrored:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    height = thing.side * OVERSAMPLING * UNITS / 100
    width = height * thing.look.stretch
    sprite = sprite.resize((round(width), round(height)), Image.Resampling.LANCZOS)
    corner = (thing.x * OVERSAMPLING - width / 2, thing.y * OVERSAMPLING - height)
    return sprite, (round(corner[0]), round(corner[1]))


def _shadow(canvas: Image.Image, thing: Thing) -> None:
    x, y = thing.x * OVERSAMPLING, thing.y * OVERSAMPLING
    half = thing.side * thing.look.stretch * OVERSAMPLING * 0.46
    mask = Image.new("L", canvas.size, 0)
    box = (x - half, y - 0.16 * half, x + half, y + 0.16 * half)
    ImageDraw.Draw(mask).ellipse(box, fill=90)
    canvas.paste((0, 0, 0), (0, 0), mask)


def _majority(fine: np.ndarray) -> np.ndarray:
    blocks = fine.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING)
    owned: np.ndarray = blocks.mean((1, 3)) > 0.5
    return owned


@dataclass(frozen=True)
class SubjectPhotos:
    """Photographs of one subject, with the scenes that they show."""

    noun: str
    look: Look
    scenes: tuple[Scene, ...]
    images: tuple[Image.Image, ...]


def render_subject(noun: str, look: Look, num: int, seed: int) -> SubjectPhotos:
    """Draws photographs of a subject alone: varied places, positions, sizes, mirrored.

    Args:
        noun: One of `world.CLASSES`.
        look: What makes it this subject.
        num: How many photographs; places do not repeat before all were used.
        seed: Decides everything else.
    """
    rng = np.random.default_rng([seed, 1])
    places: list[str] = []
    while len(places) < num:
        places += rng.permutation(list(world.PLACES)).tolist()
    scenes = tuple(world.sample_scene(rng, [(noun, look)], place) for place in places[:num])
    return SubjectPhotos(noun, look, scenes, tuple(render(scene).image for scene in scenes))


def look_from_seed(seed: int) -> Look:
    """The look that belongs to a seed, as the command line uses it."""
    return unnamed_look(np.random.default_rng([seed, 0]))


def save_subject(photos: SubjectPhotos, folder: Path) -> None:
    """Writes PNG files and `metadata.jsonl` (file name, class, look, place, caption).

    The pictures of an earlier rendered subject in the folder, as its `metadata.jsonl` names them,
    go away.

    Raises:
        InputError: there is a `metadata.jsonl` of another kind, or another's picture.
    """
    metadata, earlier = folder / "metadata.jsonl", set()
    if metadata.is_file():
        for line, entry in read_json_lines(metadata):
            if not ("look" in entry and isinstance(entry.get("file_name"), str)):
                raise bad_line(metadata, line, "a rendered picture", "another's photograph")
            earlier.add(Path(entry["file_name"]).name)
    images = {f"{number:02d}.png": image for number, image in enumerate(photos.images)}
    for name in images.keys() - earlier:
        if (folder / name).exists():
            raise InputError(f"{folder / name}: is another's picture; name another folder")
    for name in earlier:
        (folder / name).unlink(missing_ok=True)
    entries = [
        {
            "file_name": name,
            "class": photos.noun,
            "look": photos.look.as_dict(),
            "place": scene.place,
            "text": plain_caption(photos.noun, scene.place),
        }
        for name, scene in zip(images, photos.scenes, strict=True)
    ]
    # First, so that the pictures that a killed process has written are known as ours.
    atomic_write(metadata, "".join(json.dumps(entry) + "\n" for entry in entries).encode())
    for name, image in images.items():
        with atomic_path(folder / name) as temporary:
            image.save(temporary, "PNG")


def main() -> None:
    """Parses the command line and draws one subject."""
    parser = argparse.ArgumentParser(prog="python -m cones.toybox.render", description=__doc__)
    parser.add_argument("--class", dest="noun", choices=world.CLASSES, required=True)
    parser.add_argument("--seed", type=int, required=True, help="decides look and photographs")
    parser.add_argument("--num", type=int, default=5, help="how many photographs (default 5)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    args = parser.parse_args()
    if args.num < 1 or args.seed < 0:
        parser.error("--num must be at least 1 and --seed at least 0")
    photos = render_subject(args.noun, look_from_seed(args.seed), args.num, args.seed)
    try:
        save_subject(photos, args.out)
    except InputError as error:
        sys.exit(str(error))
    except (OSError, ValueError) as error:
        sys.exit(f"{args.out}: cannot be written ({error}); choose an empty or a new folder")
    print(f"{args.num} photographs of a {args.noun} in {args.out}")


if __name__ == "__main__":
    main()
