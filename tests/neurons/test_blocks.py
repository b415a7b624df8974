"""Blocks of one model, left in any order and from anywhere, restore every byte."""

import asyncio
import contextvars
import copy
import gc
import random
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cones.errors import BusyError, InputError
from cones.neurons import blocks
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.projections import fingerprint, projections, shapes
from cones.neurons.shutting import base_fingerprint, shut

BUSY = r"^the model is in use by another thread or task, .* or work on a deep copy of the model$"
IN_VAIN = r"^the model is in use by a block that waits for this very thread, .*async with"


class Attention(nn.Module):
    """What the layers' names need, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.attn2 = nn.Module()
        self.attn2.to_k = nn.Linear(6, 8, bias=False)
        self.attn2.to_v = nn.Linear(6, 3)


@pytest.fixture
def model() -> nn.Module:
    return Attention()


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone().view(torch.uint8) for k, v in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def some(model: object, seed: int = 0, strength: float = 1.0, tuned: bool = False) -> Any:
    rng = np.random.default_rng(seed)
    sizes = shapes(projections(model))
    index = {k: np.flatnonzero(rng.random(o * i) < 0.5) for k, (o, i) in sizes.items()}
    values = {k: rng.normal(size=len(i)).astype(np.float32) for k, i in index.items()}
    return ConceptNeurons(sizes, index, values if tuned else None, strength=strength)


def enter_and_leave(model: nn.Module) -> None:
    """Shuts something without waiting."""
    with shut(model, some(model), wait=0):
        pass


def in_thread(work: Callable[[], Any]) -> Any:
    """What some work gives in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(timeout=20)


KINDS = st.tuples(st.integers(0, 9), st.sampled_from([0.3, 1.0, 2.0]), st.booleans())


@given(st.lists(KINDS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_any_order_of_leaving_restores(kinds: list[Any], order: random.Random) -> None:
    """What remains is at each moment what the blocks still open do alone."""
    model = Attention()
    before, fresh = bits(model), copy.deepcopy(model)
    sets = [some(model, *kind) for kind in kinds]
    opened = [shut(model, each) for each in sets]
    for block in opened:
        block.__enter__()
    left = list(range(len(sets)))
    while left:
        with ExitStack() as stack:
            for number in left:
                stack.enter_context(shut(fresh, sets[number]))
            assert same(bits(model), bits(fresh))
        opened[left.pop(order.randrange(len(left)))].__exit__(None, None, None)
    assert same(bits(model), before)


def test_the_reported_order(model: nn.Module) -> None:
    before = bits(model)
    a, b = shut(model, some(model, 1)), shut(SimpleNamespace(unet=model), some(model, 2))
    a.__enter__()
    b.__enter__()
    a.__exit__(None, None, None)
    b.__exit__(None, None, None)
    assert same(bits(model), before)
    assert base_fingerprint(model) == fingerprint(projections(model))


def test_an_exit_stack_restores_after_an_exception(model: nn.Module) -> None:
    before = bits(model)
    with pytest.raises(KeyError), ExitStack() as stack:
        first = ExitStack()
        first.enter_context(shut(model, some(model, 1)))
        stack.enter_context(shut(model, some(model, 2, 2.0)))
        stack.enter_context(first.pop_all())
        raise KeyError
    assert same(bits(model), before)


def test_threads_take_turns(model: nn.Module) -> None:
    before, sets = bits(model), [some(model, seed) for seed in range(8)]
    wanted = []
    for each in sets:
        with shut(model, each):
            wanted.append(bits(model))

    def work(number: int) -> bool:
        right = True
        for _ in range(20):
            with shut(model, sets[number]):
                right &= same(bits(model), wanted[number])
                time.sleep(0.0002)
                right &= same(bits(model), wanted[number])
        return right

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert same(bits(model), before)


def test_tasks_take_turns(model: nn.Module) -> None:
    before, sets = bits(model), [some(model, seed) for seed in range(4)]
    wanted = []
    for each in sets:
        with shut(model, each):
            wanted.append(bits(model))

    async def work(number: int) -> bool:
        async with shut(model, sets[number]) as inside:
            await asyncio.sleep(0.002)
            thread = await asyncio.to_thread(lambda: base_fingerprint(model))
            return inside is model and len(thread) == 32 and same(bits(model), wanted[number])

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*(work(number) for number in range(4)))

    assert asyncio.run(all_of_them()) == [True] * 4
    assert same(bits(model), before)


def test_a_plain_block_does_not_wait_for_a_task_of_its_own_thread(model: nn.Module) -> None:
    """It would stop the event loop, and with it the task that it waits for."""
    before, neurons = bits(model), some(model)

    async def work() -> str:
        try:
            with shut(model, neurons):
                await asyncio.sleep(0.01)
                return "shut"
        except BusyError as error:
            return str(error)

    async def both() -> list[str]:
        return await asyncio.gather(work(), work())

    first, second = asyncio.run(both())
    assert first == "shut" and second.startswith("the model is in use by a block that waits for")
    assert len(second) <= 300
    assert same(bits(model), before)


def test_tasks_started_inside_a_block_nest_in_it_and_take_turns(model: nn.Module) -> None:
    before, outer = bits(model), some(model, 9)
    sets = [some(model, seed) for seed in range(3)]
    wanted = []
    with shut(model, outer):
        for each in sets:
            with shut(model, each):
                wanted.append(bits(model))

    async def work(number: int) -> bool:
        async with shut(model, sets[number]):
            await asyncio.sleep(0.002)
            return same(bits(model), wanted[number])

    async def all_of_them() -> list[bool]:
        async with shut(model, outer):
            return await asyncio.gather(*(work(number) for number in range(3)))

    assert asyncio.run(all_of_them()) == [True] * 3
    assert same(bits(model), before)


def test_waiting_may_be_refused_or_limited(model: nn.Module) -> None:
    neurons = some(model)

    def refused(wait: float) -> None:
        with pytest.raises(BusyError, match=BUSY), shut(model, neurons, wait=wait):
            pass

    async def refused_task() -> None:
        with pytest.raises(BusyError, match=BUSY):
            async with shut(model, neurons, wait=0.02):
                pass

    with shut(model, neurons):
        in_thread(lambda: refused(0))
        in_thread(lambda: refused(0.02))
        in_thread(lambda: asyncio.run(refused_task()))
        with shut(model, neurons, wait=0):
            pass
    in_thread(lambda: enter_and_leave(model))
    with pytest.raises(InputError, match=r"^wait: expected seconds, 0 or more, found -1$"):
        shut(model, neurons, wait=-1)


def test_long_waiting_is_told(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blocks, "PATIENCE", 0.01)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with Block(model):
            inside.set()
            leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        inside.wait(10)
        threading.Timer(0.1, leave.set).start()
        with shut(model, some(model)):
            pass
        held.result()
    assert [record.getMessage() for record in caplog.records] == [blocks.WAITING]


def test_a_thread_with_the_context_of_a_block_works_inside_it(model: nn.Module) -> None:
    with shut(model, some(model)):
        context = contextvars.copy_context()
        in_thread(lambda: context.run(enter_and_leave, model))


def test_two_models_in_opposite_order_are_no_deadlock() -> None:
    first, second, barrier = Attention(), Attention(), threading.Barrier(2)

    def work(one: nn.Module, other: nn.Module) -> bool:
        with Block(one):
            barrier.wait(10)
            try:
                with Block(other):
                    return True
            except BusyError:
                return False

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, (first, second), (second, first)))
    assert any(found) and not all(found)


def test_a_block_is_left_from_another_thread_too(model: nn.Module) -> None:
    before, block = bits(model), shut(model, some(model))
    block.__enter__()
    in_thread(lambda: block.__exit__(None, None, None))
    assert same(bits(model), before)
    in_thread(lambda: enter_and_leave(model))


def test_a_block_is_entered_and_left_once(model: nn.Module) -> None:
    block = shut(model, some(model))
    with pytest.raises(InputError, match=r"^this block is not open"):
        block.__exit__(None, None, None)
    with block, pytest.raises(InputError, match=r"^this block is entered already"):
        block.__enter__()
    before = bits(model)
    with block:
        assert not same(bits(model), before)
    assert same(bits(model), before)


def test_a_copy_is_its_own_model(model: nn.Module) -> None:
    with shut(model, some(model)):
        other = copy.deepcopy(model)
        during = bits(other)
        assert base_fingerprint(other) == fingerprint(projections(other))
        assert base_fingerprint(other) != base_fingerprint(model)
        in_thread(lambda: enter_and_leave(other))
        with shut(other, some(other, 2)):
            pass
        assert same(bits(other), during) and same(bits(model), during)
    assert same(bits(other), during) and not same(bits(model), during)


def test_models_are_collected_also_with_a_block_left_open() -> None:
    for leave in (True, False):
        model = Attention()
        gone = weakref.ref(model)
        block = shut(model, some(model))
        block.__enter__()
        if leave:
            block.__exit__(None, None, None)
        base_fingerprint(model)
        del model, block
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.load_state_dict(Attention().state_dict()),
        lambda model: model.load_state_dict(Attention().state_dict(), assign=True),
        lambda model: model.attn2.to_k.weight.data.add_(0.5),  # as a LoRA is fused
        lambda model: setattr(model.attn2.to_k, "weight", nn.Parameter(torch.ones(8, 6))),
    ],
)
def test_weights_that_others_change_inside_a_block_are_no_silent_mixture(
    model: Any, change: Callable[[Any], object]
) -> None:
    said = r"^attn2.to_.\.weight: was changed by others"
    with pytest.raises(InputError, match=said) as caught, shut(model, some(model)):
        change(model)
    assert len(str(caught.value)) <= 300
    with shut(model, some(model, 1), wait=0):  # it is not taken for open still
        pass


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.load_state_dict(Attention().state_dict()),
        lambda model: model.attn2.to_k.weight.data.add_(0.5),
        lambda model: model.attn2.to_k.weight.data.copy_(model.attn2.to_k.weight.data.flip(0)),
        lambda model: model.attn2.to_k.weight.data.copy_(model.attn2.to_k.weight.data.flip(1)),
        lambda model: model.attn2.to_k.weight.data[:, 1::2].neg_(),
        lambda model: model.to(torch.bfloat16),
        lambda model: model.attn2.to_v.weight.data.view(-1)[0].add_(1e-2),
    ],
)
def test_a_fingerprint_follows_the_weights(model: Any, change: Callable[[Any], object]) -> None:
    before = base_fingerprint(model)
    assert before == fingerprint(projections(model))
    change(model)
    assert base_fingerprint(model) == fingerprint(projections(model)) != before
    with shut(model, some(model)), shut(model, some(model, 1)):
        assert base_fingerprint(model) != fingerprint(projections(model))
        during = base_fingerprint(model)
    assert during == fingerprint(projections(model))


def test_a_model_made_in_inference_mode_is_served() -> None:
    with torch.inference_mode():
        model = Attention()
    before = bits(model)
    with shut(model, some(model, tuned=True)):
        assert not same(bits(model), before)
    with torch.inference_mode(), shut(model, some(model)):
        pass
    assert same(bits(model), before)
