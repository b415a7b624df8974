"""The gate: what the toybox's model must be able to draw before its weights are shipped.

`python -m benchmarks.gate --num 500 --json` asks for one, two and four things in a place, in the
wordings of the captions, and for one thing in full detail, and lets a judge trained on renders
(`benchmarks.judge`) look. Two ceilings stand beside: the judge's hits on renders of the same
prompts, and on these renders when they went through the autoencoder. Variety is asked for too: how
evenly plain prompts are answered in all colours.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.judge import Judge, Verdict, train_judge
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.sampling.generate import generate
from cones.toybox.captions import caption, plain_caption
from cones.toybox.names import unnamed_look
from cones.toybox.render import render
from cones.toybox.world import CLASSES, COLOURS, PLACES, SIZE, Scene, sample_scene

# number of things in the picture -> share of the pictures that must show all of them
THINGS_WANTED = {1: 0.98, 2: 0.95, 4: 0.8}
PLACE_WANTED = 0.99  # of the pictures with one thing
# of the pictures of one thing in full detail
LOOK_WANTED = {"main colour": 0.95, "both colours": 0.85, "pattern": 0.85, "accessory": 0.8}
VARIETY_WANTED = 0.85  # of the entropy of evenly drawn main colours, at plain prompts
PER_SEED = 8  # prompts that share a seed, so that they go through the model together
_SEED = 9_000_041


@dataclass(frozen=True)
class Check:
    """One line of the gate.

    Attributes:
        name: what is asked for.
        drawn: share of the model's pictures that are right; of variety, the entropy of the main
            colour within a class, as a share of the greatest.
        decoded: share of renders of the same prompts that are right after the autoencoder.
        renders: share of these renders that the judge finds right before it.
        wanted: the least `drawn` that passes.
        num: prompts.
    """

    name: str
    drawn: float
    decoded: float
    renders: float
    wanted: float
    num: int

    @property
    def passed(self) -> bool:
        """Whether the model passes."""
        return self.drawn >= self.wanted


def ask(things: int, num: int, keep: float | None = None) -> list[tuple[str, Scene]]:
    """Prompts that name a place and some things, each with a scene that it describes.

    Args:
        things: in each picture.
        num: of prompts.
        keep: the chance of each attribute of a look to be said; as in captions when None.
    """
    rng = np.random.default_rng([_SEED, things])
    asked: list[tuple[str, Scene]] = []
    while len(asked) < num:
        nouns = [str(noun) for noun in rng.choice(CLASSES, things, replace=False)]
        scene = sample_scene(rng, [(noun, unnamed_look(rng)) for noun in nouns])
        text = caption(scene, rng, keep)
        if PLACES[scene.place] in text:  # some captions leave it out
            asked.append((text, scene))
    return asked


def ask_plainly(num: int) -> list[tuple[str, Scene]]:
    """Plain prompts of every class and place in turn, each with a scene that it describes."""
    pairs = [(noun, place) for place in PLACES for noun in CLASSES]
    asked = []
    for k in range(num):
        noun, place = pairs[k % len(pairs)]
        rng = np.random.default_rng([_SEED, 0, k])
        scene = sample_scene(rng, [(noun, unnamed_look(rng))], place)
        asked.append((plain_caption(noun, place), scene))
    return asked


def draw(
    backbone: Backbone, prompts: Sequence[str], steps: int, guidance: float
) -> list[Image.Image]:
    """One picture of each prompt; every `PER_SEED` prompts have a seed of their own."""
    pictures = []
    for seed, start in enumerate(range(0, len(prompts), PER_SEED)):
        chunk = prompts[start : start + PER_SEED]
        pictures += generate(
            backbone, chunk, [seed], steps=steps, guidance=guidance, batch=PER_SEED
        )
    return [picture.image for picture in pictures]


@torch.no_grad()
def decoded(
    backbone: Backbone, images: Sequence[Image.Image], batch: int = 50
) -> list[Image.Image]:
    """What is left of pictures that go through the autoencoder and nothing else."""
    pipeline = backbone.pipeline
    found: list[Image.Image] = []
    for start in range(0, len(images), batch):
        latents, _ = backbone.encode_images(images[start : start + batch])
        latents = latents.to(pipeline.vae.dtype) / pipeline.vae.config.scaling_factor
        pixels = pipeline.vae.decode(latents, return_dict=False)[0]
        found += pipeline.image_processor.postprocess(pixels)
    return found


def gate(
    backbone: Backbone, judge: Judge, num: int, steps: int = 20, guidance: float = 5.0
) -> list[Check]:
    """Measures a model.

    Args:
        backbone: the model.
        judge: trained.
        num: prompts for each number of things, for looks, and for variety.
        steps: of the sampler.
        guidance: of classifier-free guidance.
    """

    def judged(asked: Sequence[tuple[str, Scene]]) -> list[Verdict]:
        """What the judge sees in the model's pictures, in decoded renders and in renders."""
        renders = [render(scene).image for _, scene in asked]
        drawn = draw(backbone, [text for text, _ in asked], steps, guidance)
        return [judge.look(group) for group in (drawn, decoded(backbone, renders), renders)]

    checks = []
    for things, wanted in THINGS_WANTED.items():
        asked = ask(things, num)
        verdicts = judged(asked)
        nouns = [[thing.noun for thing in scene.things] for _, scene in asked]
        right = [verdict.shows(nouns) for verdict in verdicts]
        checks.append(_check(f"{things} thing{'s' * (things > 1)}", right, wanted))
        if things == 1:
            places = [verdict.stands([scene.place for _, scene in asked]) for verdict in verdicts]
            checks.append(_check("place", places, PLACE_WANTED))
    asked = ask(1, num, keep=1.0)
    hits = [look_hits(verdict, [scene for _, scene in asked]) for verdict in judged(asked)]
    for name, wanted in LOOK_WANTED.items():
        checks.append(_check(name, [of_group[name] for of_group in hits], wanted))
    asked = ask_plainly(num)
    drawn, through, renders = (variety(verdict, asked) for verdict in judged(asked))
    checks.append(Check("variety", drawn, through, renders, VARIETY_WANTED, num))
    return checks


def look_hits(verdict: Verdict, scenes: Sequence[Scene]) -> dict[str, torch.Tensor]:
    """Whether the one thing of each scene looks as it should, for each line of `LOOK_WANTED`."""
    nouns = [scene.things[0].noun for scene in scenes]
    right = {
        key: verdict.has(key, nouns, [getattr(scene.things[0].look, key) for scene in scenes])
        for key in ("main", "second", "pattern", "accessory")
    }
    return {
        "main colour": right["main"],
        "both colours": right["main"] & right["second"],
        "pattern": right["pattern"],
        "accessory": right["accessory"],
    }


def variety(verdict: Verdict, asked: Sequence[tuple[str, Scene]]) -> float:
    """How evenly the main colours are spread within a class, from 0 to about 1.

    The entropy of the colour in nats over the greatest one, with Miller's and Madow's correction
    for few pictures, averaged over the classes.
    """
    nouns = [scene.things[0].noun for _, scene in asked]
    entropies = []
    for noun in dict.fromkeys(nouns):
        rows = [k for k, other in enumerate(nouns) if other == noun]
        numbers = torch.bincount(verdict.looks["main"][rows, CLASSES.index(noun)])
        shares = numbers[numbers > 0] / len(rows)
        plain = float(-(shares * shares.log()).sum())
        entropies.append(plain + (len(shares) - 1) / (2 * len(rows)))
    return float(np.mean(entropies) / np.log(len(COLOURS)))


def _check(name: str, right: Sequence[torch.Tensor], wanted: float) -> Check:
    """A line from what is right among drawn, decoded and rendered pictures, bool `[num]` each."""
    drawn, decoded, renders = (int(hits.sum()) / len(hits) for hits in right)
    return Check(name, drawn, decoded, renders, wanted, len(right[0]))


def contact_sheet(backbone: Backbone, steps: int, guidance: float) -> Image.Image:
    """Every class in every place, for a person to recognise."""
    prompts = [plain_caption(noun, place) for noun in CLASSES for place in PLACES]
    sheet = Image.new("RGB", (len(PLACES) * SIZE, len(CLASSES) * SIZE))
    for k, picture in enumerate(draw(backbone, prompts, steps, guidance)):
        row, column = divmod(k, len(PLACES))
        sheet.paste(picture, (column * SIZE, row * SIZE))
    return sheet


def main() -> None:
    """Parses the command line, prints the checks, and exits with 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--model", default="toybox", help="this name or a diffusers folder")
    parser.add_argument("--num", type=int, default=500, help="prompts for each number of things")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of a table")
    parser.add_argument("--sheet", type=Path, help="also draw every class in every place there")
    args = parser.parse_args()
    backbone = load_backbone(args.model, dtype=torch.float32)
    if args.sheet:
        contact_sheet(backbone, args.steps, args.guidance).save(args.sheet)
    checks = gate(backbone, train_judge(), args.num, args.steps, args.guidance)
    passed = all(check.passed for check in checks)
    if args.json:
        print(json.dumps({"passed": passed, "checks": [asdict(check) for check in checks]}))
    else:
        print(f"{'':14}{'drawn':>8}{'wanted':>8}{'decoded':>9}{'renders':>9}   of {args.num} each")
        for check in checks:
            print(
                f"{check.name:14}{check.drawn:8.1%}{check.wanted:8.0%}"
                f"{check.decoded:9.1%}{check.renders:9.1%}"
            )
    sys.exit(not passed)


if __name__ == "__main__":
    main()
