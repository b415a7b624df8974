"""Time a step of the search against a forward pass and against a step of each rival's script.

`python -m benchmarks.step --resolution 256` measures on Stable Diffusion 1.5 at full size with
random weights (`benchmarks.stable_diffusion`) and the scripts' steps as `benchmarks.rival_steps`
rebuilds them; `--json` prints one JSON object. All take their steps in turn in one process, so each
ratio is of times that lie side by side; its median over the rounds is given. Peak memory is taken
first, of each one in a process of its own; what finds no room there is not timed either.
"""

import argparse
import json
import resource
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks.rival_steps import custom_diffusion, dreambooth, textual_inversion, trained
from benchmarks.stable_diffusion import FULL, TINY, Size, Workload
from benchmarks.timing import Step, clock, seconds_of, spread, surroundings
from cones.neurons.projections import projections
from cones.progress import Figures, OnProgress
from cones.search import algorithms as search
from cones.search.batches import PRIOR_BATCHES, Batches
from cones.search.config import FindConfig
from cones.search.loop import SearchLoop
from cones.search.objective import ImplantingLoss

WARM_UP = 1  # rounds that do not count


def forward(work: Workload) -> Step:
    """One plain forward pass without gradient."""
    return torch.no_grad()(work.forward)


def saving_forward(work: Workload) -> Step:
    """A forward pass that keeps what the gradient of the weights in question needs."""
    weights = list(projections(work.unet, FindConfig().layers).values())

    def step() -> None:
        with trained(weights):
            work.forward()

    return step


def implanting_loss(work: Workload) -> ImplantingLoss:
    """The package's own, by its defaults but for the batch."""
    config = FindConfig(batch=work.batch, prior_batch=work.batch)
    examples = [work.examples()]
    return ImplantingLoss(Batches(work.backbone, examples, examples, config), config.layers)


def searched(objective: ImplantingLoss, steps: int, on_progress: OnProgress | None = None) -> None:
    """Some steps of the package's own search, by its defaults."""
    config = FindConfig()
    search.mask_in_the_loop(
        objective,
        round(config.density * len(objective.theta)),
        SearchLoop(objective, steps, on_progress),
        config.rate,
        config.strength_in_loop,
    )


def asking_seconds(objective: ImplantingLoss) -> float:
    """Ask the base model about all batches of the prior, and tell what that is for a step.

    A search asks in its first steps and never again, so it is shared by all of a search.
    """
    start = clock()
    for step in range(PRIOR_BATCHES):
        objective.batches.draw(step)
    return (clock() - start) / FindConfig().steps


RIVALS: Mapping[str, Callable[[Workload], Step]] = {
    "forward": forward,
    "custom_diffusion": custom_diffusion,
    "dreambooth": dreambooth,
    "textual_inversion": textual_inversion,
}
ALONE = {**RIVALS, "saving_forward": saving_forward}


def seconds_in_turn(work: Workload, rivals: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of each one's step in each round.

    The search tells when it has a step's gradient; from one such moment to the next is one whole
    step. There the others take theirs, which do not count as its time. To each step of the search
    its share of `asking_seconds` is added.
    """
    objective = implanting_loss(work)
    asking = asking_seconds(objective)
    steps = {name: RIVALS[name](work) for name in rivals}
    seconds: dict[str, list[float]] = {name: [] for name in ("find", *rivals)}
    start = clock()

    def others(stage: str, done: int, total: int, figures: Figures) -> None:
        nonlocal start
        seconds["find"].append(clock() - start + asking)
        for name, step in steps.items():
            seconds[name].append(seconds_of(step))
        start = clock()

    searched(objective, WARM_UP + rounds, others)
    return {name: each[WARM_UP:] for name, each in seconds.items()}


def peak_bytes(name: str, size: Size, resolution: int, batch: int) -> int:
    """The peak memory of this process, or of its GPU, after two steps of one of them."""
    work = Workload.random(size, resolution, batch)
    if name == "find":
        searched(implanting_loss(work), 2)
    else:
        step = ALONE[name](work)
        step()
        step()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_alone(name: str, size: Size, resolution: int, batch: int) -> int | None:
    """`peak_bytes` in a process of its own; None if there is no room for it.

    To be called while this process is still small: a child's peak begins at its parent's.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(peak_bytes, name, size, resolution, batch).result()
        except (BrokenProcessPool, torch.OutOfMemoryError):
            return None


def measure(size: Size, resolution: int, batch: int, rounds: int) -> dict[str, Any]:
    """All figures; those of what found no room are None."""
    peaks = {name: peak_alone(name, size, resolution, batch) for name in ("find", *ALONE)}
    rivals = [name for name in RIVALS if peaks[name] is not None]
    seconds = seconds_in_turn(Workload.random(size, resolution, batch), rivals, rounds)
    ratios = {
        name: spread([a / b for a, b in zip(seconds["find"], seconds[name], strict=True)])
        for name in rivals
    }
    medians = {name: ratios[name]["median"] if name in ratios else None for name in RIVALS}
    return {
        **{f"find_over_{name}": median for name, median in medians.items()},
        "peak_memory_over_forward": _ratio(peaks["find"], peaks["saving_forward"]),
        "ratios": ratios,
        "seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "peak_bytes": peaks,
        "resolution": resolution,
        "samples": 2 * batch,
        "rounds": rounds,
        "dtype": "float32",
        **surroundings(),
    }


def _ratio(ours: int | None, theirs: int | None) -> float | None:
    return ours / theirs if ours and theirs else None


def table(found: Mapping[str, Any]) -> str:
    """The figures for a person to read."""
    lines = [f"{'a step of':18}{'seconds':>9}{'GiB':>8}{'find over it':>14}   nine of ten"]
    for name, peak in found["peak_bytes"].items():
        ratio = found["ratios"].get(name)
        columns = (
            f"{found['seconds'][name]:9.2f}" if name in found["seconds"] else f"{'-':>9}",
            f"{peak / 2**30:8.2f}" if peak else f"{'-':>8}",
            f"{ratio['median']:14.2f}" if ratio else f"{'':14}",
            f"   {ratio['low']:.2f} to {ratio['high']:.2f}" if ratio else "",
        )
        lines.append(f"{name:18}" + "".join(columns).rstrip())
    memory = found["peak_memory_over_forward"]
    lines.append(
        f"peak memory of find over saving_forward: {memory:.2f}"
        if memory
        else "peak memory: find or saving_forward found no room"
    )
    lines.append(
        f"{found['samples']} samples of {found['resolution']} pixels, {found['dtype']}; "
        f"{found['rounds']} rounds; {found['machine']}, {found['threads']} threads"
    )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--resolution", type=int, default=256, help="of the pictures, n * 64")
    parser.add_argument("--batch", type=int, default=2, help="the subject's; as many of the prior")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="a small model, to try this program")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of a table")
    args = parser.parse_args()
    found = measure(TINY if args.tiny else FULL, args.resolution, args.batch, args.rounds)
    print(json.dumps(found) if args.json else table(found))


if __name__ == "__main__":
    main()
