"""The sample subjects: 24 to develop with, eight to test with, five photographs of each.

`python -m cones.toybox.samples --out examples/subjects` writes `dev/<class>-<n>/` and
`test/<class>-<n>/`. Their seeds are apart from each other and from those of the training pictures,
and were not chosen by what they show. Nothing is ever tuned on a test subject.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cones.toybox.render import look_from_seed, render_subject, save_subject
from cones.toybox.world import CLASSES

PHOTOGRAPHS = 5
SUBJECTS = {
    "dev": tuple(f"{noun}-{number}" for number in (2, 3) for noun in CLASSES),
    "test": (
        "robot-1", "mug-1", "car-1", "fish-1", "backpack-1", "teapot-1", "dog-1", "duck-1",
    ),
}  # fmt: skip
FIRST_SEEDS = {"dev": 3_000_001, "test": 4_000_001}


def write_samples(out: Path) -> list[Path]:
    """Renders all sample subjects.

    Args:
        out: gets a folder `<split>/<name>` for each subject.

    Returns:
        These folders.
    """
    folders = []
    for split, names in SUBJECTS.items():
        for seed, name in enumerate(names, start=FIRST_SEEDS[split]):
            folder = out / split / name
            noun = name.partition("-")[0]
            save_subject(render_subject(noun, look_from_seed(seed), PHOTOGRAPHS, seed), folder)
            folders.append(folder)
    return folders


def main() -> None:
    """Parses the command line and writes the samples."""
    parser = argparse.ArgumentParser(prog="python -m cones.toybox.samples", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the subjects' folders")
    args = parser.parse_args()
    print(f"{len(write_samples(args.out))} subjects in {args.out}")


if __name__ == "__main__":
    main()
