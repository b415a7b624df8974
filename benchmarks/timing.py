"""How the benchmarks take times, and what they say of them and of where they were taken."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

import numpy as np
import torch

Step = Callable[[], object]


def device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def clock() -> float:
    """Seconds, when all that was asked of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(step: Step) -> float:
    """Wall-clock time."""
    start = clock()
    step()
    return clock() - start


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median, and between which values nine of ten lie."""
    low, median, high = np.percentile(values, (5, 50, 95)).tolist()
    return {"median": median, "low": low, "high": high}


def surroundings() -> dict[str, object]:
    """The machine in general words, and the versions."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), {gpu}",
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
