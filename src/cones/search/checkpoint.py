"""Checkpoints of a search: a run that was stopped goes on, and ends in the same bytes.

A checkpoint is a container, see `cones.neurons.container`. Its tensors are all that a step leaves
to the next. Its metadata, all signed: `identity`, JSON of `cones.search.identity`, and `step`, how
many are done.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cones.checks import check_count
from cones.errors import ConesError, InputError
from cones.files.locks import claimed
from cones.neurons.container import Format
from cones.search.identity import Identity, differences, foreign, read_identity

log = logging.getLogger("cones")

FORMAT = Format(
    "cones-checkpoint",
    "2",
    "a checkpoint",
    "one that `cones find --checkpointing_steps` has written",
    error=InputError,
    remedy="remove it to begin anew",
)
STEPS = 50


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a search is kept; one safetensors file, replaced all or nothing.

    Attributes:
        path: the file.
        every: steps from one to the next.
        resume: whether to go on from the file, if it is there.
        written: whether this process writes it; of several that search together one does.
        overwrite: whether it may take the place of a checkpoint of another subject.
    """

    path: Path
    every: int = STEPS
    resume: bool = False
    written: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse a step size that cannot be."""
        check_count("checkpointing_steps", self.every)

    @contextmanager
    def opened(self, identity: Identity) -> "Iterator[KeptSearch]":
        """Keep the file for a search while the block runs; no other process may.

        Raises:
            InputError: the file is damaged or of another search, or another process keeps it.
        """
        with claimed(self.path) if self.written else nullcontext():
            if self.path.exists() and not (self.overwrite and not self.resume):
                self._check(_Saved.read(self.path), identity)
            yield KeptSearch(self, identity)

    def remove(self) -> None:
        """Remove the file: its search has ended."""
        if self.written:
            self.path.unlink(missing_ok=True)

    def _check(self, saved: "_Saved", identity: Identity) -> None:
        """Refuse what is of another search, or would be lost to one of another subject."""
        told = differences(saved.identity, identity)
        if self.resume and told:
            raise InputError(
                f"{self.path}: is of a search with other settings: {told}; give those, or leave "
                "out --resume_from_checkpoint"
            )
        if not self.resume and (other := foreign(saved.identity, identity)):
            raise InputError(
                f"{self.path}: is of another search: {other}; name another --out, or add "
                "--overwrite"
            )


class KeptSearch:
    """One search in its checkpoint."""

    def __init__(self, checkpoint: Checkpoint, identity: Identity) -> None:
        """Nothing is read or written yet."""
        self.checkpoint, self._identity = checkpoint, identity
        self._said = False

    def save(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Write the state after `step` steps; where that fails, the search goes on without."""
        if not self.checkpoint.written:
            return
        try:
            arrays = {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}
            metadata = {"identity": json.dumps(dict(self._identity)), "step": str(step)}
            FORMAT.save(self.checkpoint.path, arrays, metadata)
        except ConesError as error:
            if not self._said:
                log.warning("%s; the search goes on, and is not kept meanwhile", error)
            self._said = True

    def restore(self, state: Mapping[str, Tensor], total: int) -> int:
        """Put what was kept into the tensors of `state`, in place.

        Returns:
            The steps that were done, at most `total`: 0 without a file, or if it is not to be
            resumed from.

        Raises:
            InputError: the file is damaged, or of another search.
        """
        path = self.checkpoint.path
        if not self.checkpoint.resume or not path.exists():
            return 0
        saved = _Saved.read(path)
        self.checkpoint._check(saved, self._identity)
        for name in state.keys() | saved.state.keys():
            expected, found = (
                f"{some[name].dtype} {list(some[name].shape)}" if name in some else "none"
                for some in (state, saved.state)
            )
            if expected != found:
                raise _damaged(path, f"{name}: expected {expected}, found {found}")
        if saved.step > total:
            raise _damaged(path, f"step: expected at most {total}, found {saved.step}")
        for name, tensor in state.items():
            tensor.copy_(saved.state[name])
        return saved.step


@dataclass(frozen=True)
class _Saved:
    """The content of a checkpoint."""

    identity: Identity
    step: int
    state: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> "_Saved":
        """Read a file.

        Raises:
            InputError: it is no checkpoint, or is damaged.
        """
        container = FORMAT.load(path)
        step = container.metadata.get("step", "none")
        if not (step.isascii() and step.isdigit() and len(step) < 10):
            raise _damaged(path, f"step: expected a number, found {step}")
        state = {name: torch.tensor(array) for name, array in container.tensors.items()}
        return cls(read_identity(container.metadata.get("identity", "")), int(step), state)


def _damaged(path: Path, why: str) -> ConesError:
    return FORMAT.damaged(path, why)
