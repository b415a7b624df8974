"""Checkpoints of a search: a run that was stopped goes on, and ends in the same bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cones.checks import check_count
from cones.errors import InputError
from cones.files import atomic_path

FORMAT = "cones-checkpoint"
STEPS = 50


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a search is kept; one safetensors file, replaced all or nothing.

    Attributes:
        path: the file.
        every: steps from one to the next.
        resume: whether to go on from the file, if it is there.
        written: whether this process writes it; of several that search together one does.
    """

    path: Path
    every: int = STEPS
    resume: bool = False
    written: bool = True

    def __post_init__(self) -> None:
        """Refuses a step size that cannot be."""
        check_count("checkpointing_steps", self.every)

    def save(self, step: int, state: Mapping[str, Tensor], identity: str) -> None:
        """Writes the state after `step` steps of the search that `identity` tells."""
        if not self.written:
            return
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        metadata = {"format": FORMAT, "identity": identity, "step": str(step)}
        with atomic_path(self.path) as temporary:
            save_file(tensors, temporary, metadata)

    def restore(self, state: Mapping[str, Tensor], identity: str) -> int:
        """Puts what was kept into the tensors of `state`, in place.

        Returns:
            The steps that were done: 0 without a file, or if it is not to be resumed from.

        Raises:
            InputError: the file is damaged, or of another search.
        """
        if not self.resume or not self.path.exists():
            return 0
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("identity") != identity:
                    raise InputError(
                        f"{self.path}: is of a search with another model, photographs or settings; "
                        "give those, or leave out --resume_from_checkpoint"
                    )
                for name, tensor in state.items():
                    tensor.copy_(file.get_tensor(name))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise InputError(
                f"{self.path}: cannot be resumed from ({error}); remove it to begin anew"
            ) from error
        return int(metadata["step"])

    def remove(self) -> None:
        """Removes the file: its search has ended."""
        if self.written:
            self.path.unlink(missing_ok=True)
