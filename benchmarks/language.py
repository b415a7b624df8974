"""How far words go: the base model draws subjects from a full description of their look.

`python -m benchmarks.language --num_images 4` prints for each development subject the image
alignment of the base model's pictures from a plain prompt ("a robot"), from a full description ("a
tall red and blue striped robot with a crown"), and of fresh renders; and how far the description
goes of the way from the first to the last. No method that learns from photographs can be expected
to do better in the same model than words that say the same.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from cones.evaluation import metrics
from cones.evaluation.protocol import PROMPTS, filled
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.sampling.generate import generate
from cones.subjects.photos import load_photos
from cones.toybox.captions import description
from cones.toybox.protocol import TOYBOX
from cones.toybox.reference import fresh_renders, read_subject

SUBJECTS = Path(__file__).parents[1] / "examples" / "subjects" / "dev"


def alignments(
    backbone: Backbone, folder: Path, prompts: Sequence[str], seeds: Sequence[int], guidance: float
) -> dict[str, float]:
    """Image alignment of a rendered subject in plain words, fully described, and rendered.

    Args:
        backbone: the base model.
        folder: the subject's.
        prompts: templates, as for `cones.evaluate`.
        seeds: of the pictures of each prompt.
        guidance: of classifier-free guidance.
    """
    features = TOYBOX.features()
    photos = features.images(load_photos(folder).images)
    subject = read_subject(folder)
    if subject is None:
        raise SystemExit(f"{folder}: is no rendered subject")
    noun, look = subject
    plain = [filled(prompt, noun, [noun]) for prompt in prompts]
    full = [filled(prompt, description(noun, look), [noun]) for prompt in prompts]
    pictures = {
        name: [p.image for p in generate(backbone, texts, seeds, guidance=guidance)]
        for name, texts in (("plain", plain), ("description", full))
    }
    pictures["renders"] = fresh_renders([subject], plain, seeds)
    return {
        name: metrics.image_alignment(features.images(images), photos)
        for name, images in pictures.items()
    }


def share(found: dict[str, float]) -> float:
    """How far the description goes of the way from plain words to renders."""
    return (found["description"] - found["plain"]) / (found["renders"] - found["plain"])


def main() -> None:
    """Parses the command line and measures all subjects."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language", description=__doc__)
    parser.add_argument("--model", default="toybox", help="this name or a diffusers folder")
    parser.add_argument("--subjects", type=Path, default=SUBJECTS)
    parser.add_argument("--num_images", type=int, default=4, help="of each prompt")
    parser.add_argument("--guidance", type=float, default=TOYBOX.guidance)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of a table")
    args = parser.parse_args()
    backbone = load_backbone(args.model)
    cells = {}
    for folder in sorted(path for path in args.subjects.iterdir() if path.is_dir()):
        cells[folder.name] = alignments(
            backbone, folder, PROMPTS, range(args.num_images), args.guidance
        )
        if not args.json:
            found = "  ".join(f"{key} {value:.3f}" for key, value in cells[folder.name].items())
            print(f"{folder.name:12}{share(cells[folder.name]):6.2f}   {found}", flush=True)
    shares = torch.tensor([share(found) for found in cells.values()])
    if args.json:
        print(json.dumps({"share": shares.mean().item(), "subjects": cells}))
    else:
        print(f"mean {shares.mean():.2f} ± {shares.std() / len(shares) ** 0.5:.2f}")


if __name__ == "__main__":
    main()
