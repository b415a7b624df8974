"""Blocks: while one is open, a model is one's own, and some of its weights may be others.

Whoever changes a model for a while, or computes with it, does so in a block. A model has one list
of open blocks, whatever it is reached by: denoiser, pipeline or backbone. A block opens when all
that are open were opened by the same thread or task, or by one that handed its context on (as
asyncio does to new tasks and to `asyncio.to_thread`); else it waits for its turn, in order.

Blocks may be left in any order. Each time all changes are undone, the last first, by writing back
what they had overwritten, and those of the blocks still open are made again.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

from cones.errors import BusyError, InputError
from cones.neurons.changes import Change
from cones.neurons.projections import denoiser
from cones.text import printable

Model = TypeVar("Model")

log = logging.getLogger("cones")

PATIENCE = 10.0  # seconds of waiting after which a warning tells of it
WAITING = (
    "waiting for another thread or task that uses the model; if that one waits for this thread, "
    "which it has started inside its block, let this one run in a copy of its context"
)
_POLL = 0.01  # seconds from one look of an asyncio task to the next


class Block(Generic[Model]):
    """A `with` or `async with` block on a model, which it gives; the latter lets others run.

    Once left, it may be entered again.
    """

    def __init__(
        self,
        model: Model,
        plan: Callable[[], Sequence[Change]] | None = None,
        wait: float = math.inf,
    ) -> None:
        """Nothing is opened yet.

        Args:
            model: a denoiser, a diffusers pipeline or a backbone.
            plan: tells what to change; called when the block opens, while nothing is changed.
            wait: seconds to wait while others use the model; 0 refuses at once.

        Raises:
            InputError: the model has no denoiser, or `wait` is no number of seconds.
        """
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0:
            raise InputError(
                f"wait: expected seconds, 0 or more, found {printable(repr(wait), 60)}"
            )
        self.model, self.plan, self.wait = model, plan, wait
        self._blocks = _blocks_of(denoiser(model))
        self._opened: list[_Opened] = []  # one while it is open

    def __enter__(self) -> Model:
        with self._asked(), self._blocks.turn:
            self._blocks.wait_for_turn(self)
            self._open()
        return self.model

    async def __aenter__(self) -> Model:
        end = time.monotonic() + self.wait
        with self._asked():
            while not self._has_opened():
                if time.monotonic() >= end:
                    raise _busy(self.wait)
                await asyncio.sleep(_POLL)
        return self.model

    def __exit__(self, *_: object) -> None:
        if not self._opened:
            raise InputError("this block is not open; enter it by `with` before it is left")
        self._blocks.close(self._opened.pop())

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def _open(self) -> None:
        self._opened.append(self._blocks.open(self.plan))

    def _has_opened(self) -> bool:
        """Opens if that is possible at once."""
        with self._blocks.turn:
            if free := self._blocks.is_free_for(self):
                self._open()
            return free

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """In the queue of those who wait."""
        blocks = self._blocks
        with blocks.turn:
            if self._opened or self in blocks.queue:
                raise InputError("this block is entered already; make one for each `with`")
            blocks.queue.append(self)
        try:
            yield
        finally:
            with blocks.turn:
                blocks.queue.remove(self)
                blocks.turn.notify_all()


@contextmanager
def unchanged(model: object) -> Iterator[None]:
    """The model's weights as they are without the changes of one's own open blocks."""
    with Block(model):
        blocks = _blocks_of(denoiser(model))
        with blocks.turn, blocks.undone():
            yield


@dataclass(eq=False)
class _Opened:
    """An open block; it does not keep its model alive."""

    thread: threading.Thread
    changes: Sequence[Change] = ()


class _Blocks:
    """The blocks of one model.

    Attributes:
        turn: held while weights are changed; notified when a block may be able to open.
        opened: in the order of opening.
        queue: those who want to open one, in the order of asking.
    """

    def __init__(self) -> None:
        """None is open."""
        self.turn = threading.Condition()  # of a lock that its holder may take again
        self.opened: list[_Opened] = []
        self.queue: list[Block[Any]] = []
        self._depth = 0

    def is_free_for(self, block: "Block[Model]") -> bool:
        """Whether a block in the queue may open."""
        if self.opened:
            return not self.foreign(_mine.get())
        return self.queue[0] is block

    def foreign(self, mine: frozenset[_Opened]) -> list[_Opened]:
        """The open blocks that are not among some."""
        return [each for each in self.opened if each not in mine]

    def wait_for_turn(self, block: "Block[Model]") -> None:
        """Returns when a block in the queue may open.

        Raises:
            BusyError: that takes too long, or would take for ever.
        """
        me, mine, first = threading.current_thread(), _mine.get(), min(block.wait, PATIENCE)
        _waiting[me] = self, mine
        try:
            if self.foreign(mine) and _is_in_vain(me):
                raise BusyError(
                    "the model is in use by a block that waits for this very thread, so waiting "
                    "for it would never end; use `async with cones.shut(...)`, draw in a thread "
                    "(asyncio.to_thread), or enter the blocks of two models in one order"
                )
            if self.turn.wait_for(lambda: self.is_free_for(block), first):
                return
            if block.wait > first:
                log.warning(WAITING)
                rest = min(block.wait - first, threading.TIMEOUT_MAX)
                if self.turn.wait_for(lambda: self.is_free_for(block), rest):
                    return
            raise _busy(block.wait)
        finally:
            del _waiting[me]

    def open(self, plan: Callable[[], Sequence[Change]] | None) -> _Opened:
        """Opens a block whose turn it is, and makes its changes."""
        block = _Opened(threading.current_thread())
        self.opened.append(block)
        _mine.set(_mine.get() | {block})
        if plan is not None:
            try:
                with self.undone():
                    block.changes = plan()
            except BaseException:
                self.close(block)
                raise
        return block

    def close(self, block: _Opened) -> None:
        """Undoes a block's changes; those of the others stay.

        Raises:
            InputError: others have changed its weights meanwhile.
        """
        with self.turn:
            try:
                if block.changes:
                    with self.undone():
                        self.opened.remove(block)
            finally:
                self.opened = [each for each in self.opened if each is not block]
                block.changes = ()  # a context that has not seen it close may keep it
                _mine.set(_mine.get() - {block})
                self.turn.notify_all()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """All changes are undone for a while, also if they are so already; `turn` is held.

        Raises:
            InputError: afterwards, if others have changed the same weights since they were made.
        """
        spoilt: list[str] = []
        self._depth += 1
        try:
            if self._depth == 1:
                changes = [change for block in self.opened for change in block.changes]
                spoilt = [change.name for change in reversed(changes) if not change.undo()]
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                for change in (change for block in self.opened for change in block.changes):
                    change.make()
        if spoilt:
            raise InputError(
                f"{spoilt[0]}: was changed by others while neurons were shut in it "
                "(load_state_dict, training, a fused LoRA?), so it is neither as before nor as "
                "they left it; load the model again, and change it outside of the block"
            )


_mine: ContextVar[frozenset[_Opened]] = ContextVar("cones_blocks", default=frozenset())
_waiting: dict[threading.Thread, tuple[_Blocks, frozenset[_Opened]]] = {}
_registry: "WeakKeyDictionary[nn.Module, _Blocks]" = WeakKeyDictionary()
_registry_lock = threading.Lock()


def _blocks_of(network: nn.Module) -> _Blocks:
    with _registry_lock:
        return _registry.setdefault(network, _Blocks())


def _is_in_vain(me: threading.Thread) -> bool:
    """Whether those that a thread waits for wait for the thread itself, at some remove."""
    left, seen = [me], set()
    while left:
        blocks, mine = _waiting.get(thread := left.pop(), (None, frozenset()))
        seen.add(thread)
        holders = {block.thread for block in blocks.foreign(mine)} if blocks else set()
        if me in holders:
            return True
        left += holders - seen
    return False


def _busy(waited: float) -> BusyError:
    return BusyError(
        "the model is in use by another thread or task, which has neurons shut in it or computes "
        f"with it; wait longer than {waited:g} s, or work on a deep copy of the model"
    )
