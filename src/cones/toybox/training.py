"""What the three trainings of the toybox share: a resumable loop with a checkpoint and a log."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger("cones.toybox")


def checkpoint_path(folder: Path, name: str) -> Path:
    """Where the checkpoint of a stage lies."""
    return folder / f"{name}.checkpoint.pt"


def steps_done(folder: Path, name: str) -> int:
    """How many steps of a stage its checkpoint has; 0 without one."""
    path = checkpoint_path(folder, name)
    if not path.exists():
        return 0
    return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["done"])


@dataclass
class Loop:
    """A training loop that goes on where its last checkpoint stopped.

    Attributes:
        folder: Where the checkpoint and the log lie.
        name: The stage's name, which names the files.
        steps: How many optimiser steps there are in all.
        state: Everything with `state_dict` and `load_state_dict` that must survive.
        save_every: Steps from checkpoint to checkpoint.
    """

    folder: Path
    name: str
    steps: int
    state: dict[str, Any]
    save_every: int = 200
    done: int = field(default=0, init=False)

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return checkpoint_path(self.folder, self.name)

    def run(self, step: Callable[[int], dict[str, float]]) -> None:
        """Calls `step(k)` for every k that is left; logs a running mean of what it returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            stored = torch.load(self.path, map_location="cpu", weights_only=True)
            self.done = stored.pop("done")
            for key, value in stored.items():
                self.state[key].load_state_dict(value)
        started, sums = time.monotonic(), dict[str, float]()
        first = self.done
        for k in range(first, self.steps):
            for key, value in step(k).items():
                sums[key] = sums.get(key, 0.0) + value
            self.done = k + 1
            if self.done % 50 == 0 or self.done == self.steps:
                since = min(50, self.done - first)
                self._log({key: round(value / since, 5) for key, value in sums.items()}, started)
                started, first, sums = time.monotonic(), self.done, {}
            if self.done % self.save_every == 0 or self.done == self.steps:
                self._save()

    def _save(self) -> None:
        stored = {key: value.state_dict() for key, value in self.state.items()}
        temporary = self.path.with_suffix(".partial")
        torch.save({"done": self.done, **stored}, temporary)
        temporary.replace(self.path)

    def _log(self, figures: dict[str, float], started: float) -> None:
        entry = {"step": self.done, **figures, "seconds": round(time.monotonic() - started, 1)}
        log.info("%s %s", self.name, entry)
        with (self.folder / f"{self.name}.log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


class Average(torch.nn.Module):
    """An exponential moving average of a model's parameters, in float32."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        """Starts as a copy of the model."""
        super().__init__()
        self.decay = decay
        self.source = [p for p in model.parameters()]
        for k, p in enumerate(self.source):
            self.register_buffer(f"p{k}", p.detach().clone())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average; early steps are forgotten faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages = list(self.buffers())
        torch._foreach_lerp_(averages, [p.detach() for p in self.source], 1 - decay)

    @torch.no_grad()
    def write(self) -> None:
        """Puts the averages into the model."""
        for p, value in zip(self.source, self.buffers(), strict=True):
            p.copy_(value)


def warm_up_and_decay(step: int, steps: int, warm_up: int = 100) -> float:
    """The learning rate's factor: up in `warm_up` steps, then along a cosine to 2 %."""
    if step < warm_up:
        return (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return 0.02 + 0.49 * (1 + float(torch.cos(torch.tensor(torch.pi * share))))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets one learning rate for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate
