"""Several processes of one command, as `accelerate launch -m cones find ...` starts them.

Every process runs the whole command on its share of the work. Only the main one writes and speaks;
where one fails, it says why, and the launcher ends the others.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from cones.errors import ConesError, InputError

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")

MEETING = timedelta(minutes=5)  # for all to have started
PATIENCE = timedelta(weeks=1)  # for another's work; that one has ended is noticed at once
FAILED = "cones: failed"


@dataclass(frozen=True)
class Processes:
    """Where this process stands among those of its command.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def share(self, after: int = 0) -> slice:
        """Which items are this process's.

        Args:
            after: items that went before them, so that all together are shared evenly.
        """
        return slice((self.rank - after) % self.world, None, self.world)

    def summed(self, *tensors: "Tensor") -> "list[Tensor]":
        """The sums over all processes of tensors of one type and device, in a single exchange.

        They are the same, bit for bit, in every process.

        Raises:
            ConesError: another process has ended.
        """
        if self.world == 1:
            return list(tensors)
        import torch
        from torch import distributed

        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _noticing():
            distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view_as(like) for part, like in zip(parts, tensors, strict=True)]

    def gathered(self, value: Value) -> list[Value]:
        """What every process has, in their order; errors as for `summed`."""
        values: list[Value] = [value] * self.world
        if self.world > 1:
            from torch import distributed

            with _noticing():
                distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Goes on when all have come here; errors as for `summed`."""
        self.gathered(None)

    def leave(self) -> None:
        """Parts from the others when all have come here: the end of a command."""
        if self.world > 1:
            from torch import distributed

            self.wait()
            distributed.destroy_process_group()


ALONE = Processes()


def joined(device: str | None = None) -> tuple[Processes, str | None]:
    """The processes that a launcher has started this one with; `ALONE` without one.

    Args:
        device: where to compute, if it is asked for.

    Returns:
        The processes, and the device of this one.

    Raises:
        InputError: several processes are asked to compute on one GPU.
        ConesError: they do not find each other.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return ALONE, device
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    if device not in (None, "cpu"):
        raise InputError(
            f"device: expected none or cpu for several processes, found {device}; each has its own"
        )
    if device is None and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    try:
        store, rank, world = next(rendezvous("env://", timeout=MEETING))
        distributed.init_process_group(store=store, rank=rank, world_size=world, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ConesError(
            f"processes: do not find each other ({_first_line(error)}); start them with "
            "`accelerate launch`"
        ) from error
    return Processes(rank, world), device


@contextmanager
def one_voice() -> Iterator[None]:
    """While the block runs, of several processes only the main one prints."""
    with ExitStack() as stack:
        if _rank() > 0:
            nothing = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nothing))
            stack.enter_context(redirect_stderr(nothing))
        yield


def say_failure(say: Callable[[str], None], line: str) -> None:
    """Says why the command fails: of several processes the first to fail does, whichever it is."""
    if not _is_first_to_fail():
        return
    with ExitStack() as stack:
        if _rank() > 0 and sys.__stderr__:
            stack.enter_context(redirect_stderr(sys.__stderr__))
        say(line)


def _is_first_to_fail() -> bool:
    """Counts the failures in the store that the processes have in common."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return _rank() == 0
    try:
        store = distributed.distributed_c10d._get_default_store()
        return bool(store.add(FAILED, 1) == 1)
    except RuntimeError:  # it has ended with the process that kept it
        return False


def _rank() -> int:
    return int(os.environ.get("RANK", 0))


@contextmanager
def _noticing() -> Iterator[None]:
    """Turns the broken connection to another process into a line."""
    try:
        yield
    except RuntimeError as error:
        raise ConesError(
            f"processes: another one has ended ({_first_line(error)}); start all again"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
