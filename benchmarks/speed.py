"""Time finding and drawing against plain forward passes of the same batch in the same run.

`python -m benchmarks.speed` times them on the toybox; `--json` prints one JSON object.
"""

import argparse
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.timing import seconds_of
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.sampling.generate import generate
from cones.search.config import FindConfig
from cones.search.find import find
from cones.subjects.subject import TEMPLATES, Subject

SUBJECT = Path(__file__).parents[1] / "examples" / "subjects" / "dev" / "robot-2"
PICTURES, STEPS = 8, 20


@dataclass(frozen=True)
class Timing:
    """What one task took.

    Attributes:
        task: what was done.
        seconds: in all.
        forward: seconds of one forward pass of the denoiser, without gradient.
        batch: of that forward pass, the task's own.
        passes: `seconds` over `forward`.
    """

    task: str
    seconds: float
    forward: float
    batch: int
    passes: float


@torch.no_grad()
def forward_seconds(backbone: Backbone, batch: int, repeats: int = 7) -> float:
    """The median time of one forward pass, after two that do not count."""
    unet = backbone.pipeline.unet.config
    noisy = torch.zeros(batch, unet.in_channels, unet.sample_size, unet.sample_size)
    noisy = noisy.to(backbone.device)
    timesteps = torch.full((batch,), backbone.timesteps // 2, device=backbone.device)
    states = backbone.encode_prompts([TEMPLATES[0].format("robot")] * batch)

    def forward() -> None:
        backbone.predict(noisy, timesteps, states)

    return statistics.median([seconds_of(forward) for _ in range(repeats + 2)][2:])


def timings(backbone: Backbone) -> list[Timing]:
    """Time both tasks."""
    subject = Subject.from_folder(SUBJECT, "robot")
    config = FindConfig()
    prompt = TEMPLATES[0].format("robot")

    def draw() -> None:
        generate(backbone, prompt, range(PICTURES), steps=STEPS, batch=PICTURES)

    tasks = (
        (
            f"find one subject, {config.steps} steps",
            lambda: find(backbone, subject, config),
            config.batch + config.prior_batch,
        ),
        (f"draw {PICTURES} pictures, {STEPS} steps", draw, 2 * PICTURES),
    )
    found = []
    for name, task, batch in tasks:
        forward = forward_seconds(backbone, batch)
        seconds = seconds_of(task)
        found.append(Timing(name, seconds, forward, batch, seconds / forward))
    return found


def main() -> None:
    """Parse the command line and print the times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--model", default="toybox", help="as for the cones command")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of a table")
    args = parser.parse_args()
    found = timings(load_backbone(args.model, dtype=torch.float32))
    if args.json:
        threads = torch.get_num_threads()
        print(json.dumps({"threads": threads, "timings": [asdict(timing) for timing in found]}))
        return
    print(f"{'':32}{'seconds':>9}{'forward':>10}{'passes':>9}")
    for timing in found:
        print(f"{timing.task:32}{timing.seconds:9.1f}{timing.forward:10.3f}{timing.passes:9.0f}")


if __name__ == "__main__":
    main()
