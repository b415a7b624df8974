"""A search that was stopped at any step and resumed ends in the same bytes."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from quadratic import Quadratic
from tiny import tiny_pipeline

from cones.errors import InputError
from cones.files.writing import safetensors_bytes
from cones.models.loading import load_backbone
from cones.neurons.neuronfile import to_bytes
from cones.search import algorithms as search
from cones.search.checkpoint import FORMAT, Checkpoint, KeptSearch
from cones.search.config import FindConfig
from cones.search.find import find
from cones.search.loop import SearchLoop
from cones.subjects.subject import Subject

Search = Callable[[Quadratic, SearchLoop], torch.Tensor]
SEARCHES: dict[str, Search] = {
    "one-pass": lambda objective, steps: search.one_pass(objective, steps),
    "paper": lambda objective, steps: search.paper(objective, steps, 1e-3),
    "fine-tuning": lambda objective, steps: search.fine_tune(objective, steps, 0.01)[0],
    "mask": lambda objective, steps: search.mask_in_the_loop(objective, 20, steps, 0.05, 1.0),
}
OWN = {"method": "find", "token": ["sks"], "steps": 40}


class Stop(Exception):
    """The machine was switched off."""


def stopping(at: int) -> Callable[..., None]:
    def on_progress(_: str, done: int, *__: Any) -> None:
        if done == at:
            raise Stop

    return on_progress


@contextmanager
def opened(path: Path, every: int = 5, **settings: Any) -> Iterator[KeptSearch]:
    with Checkpoint(path, every, **settings).opened(OWN) as kept:
        yield kept


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("at", [1, 10, 11, 39])
def test_a_stopped_search_goes_on_to_the_same_scores(name: str, at: int, tmp_path: Path) -> None:
    whole = SEARCHES[name](Quadratic(0.5), SearchLoop(Quadratic(0.5), 40, None))
    path, objective = tmp_path / "kept.safetensors", Quadratic(0.5)
    with pytest.raises(Stop), opened(path) as kept:
        SEARCHES[name](objective, SearchLoop(objective, 40, stopping(at), kept=kept))
    seen: list[int] = []
    with opened(path, resume=True) as kept:
        steps = SearchLoop(objective, 40, lambda _, done, *__: seen.append(done), kept=kept)
        assert torch.equal(SEARCHES[name](objective, steps), whole)
    assert seen[0] == (at - 1) // 5 * 5 + 1  # what was kept is not done again


def test_the_count_of_dropped_steps_goes_on(tmp_path: Path) -> None:
    path, objective = tmp_path / "kept.safetensors", Quadratic(0.5, broken=2)
    with pytest.raises(Stop), opened(path, 1) as kept:
        search.one_pass(objective, SearchLoop(objective, 60, stopping(4), kept=kept))
    with opened(path, 1, resume=True) as kept:
        steps = SearchLoop(objective, 60, None, kept=kept)
        search.one_pass(objective, steps)
    assert steps.dropped == 2


def test_without_resuming_a_checkpoint_is_replaced(tmp_path: Path) -> None:
    objective = Quadratic(0.5)
    for _ in range(2):
        seen: list[int] = []
        with opened(tmp_path / "kept.safetensors") as kept:
            told = lambda _, done, *__, to=seen: to.append(done)  # noqa: E731
            search.one_pass(objective, SearchLoop(objective, 10, told, kept=kept))
        assert len(seen) == 10


def test_the_checkpoint_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    with opened(path) as kept:
        kept.save(3, {"latent": torch.ones(4)})
    more, other = {**OWN, "steps": 80}, {**OWN, "token": ["ohwx"]}
    with (
        pytest.raises(InputError, match=r"other settings: steps 40 -> 80; give those"),
        Checkpoint(path, resume=True).opened(more),
    ):
        pass
    with Checkpoint(path).opened(more):  # its own older self
        pass
    with (
        pytest.raises(InputError, match=r"of another search: token sks -> ohwx; name another"),
        Checkpoint(path).opened(other),
    ):
        pass
    with Checkpoint(path, overwrite=True).opened(other):
        pass
    with pytest.raises(InputError, match="checkpointing_steps: expected at least 1, found 0"):
        Checkpoint(path, 0)


def damaged(path: Path, data: bytes) -> str:
    """How resuming from these bytes is refused."""
    path.write_bytes(data)
    state = {"latent": torch.zeros(4)}
    with pytest.raises(InputError) as refused:
        KeptSearch(Checkpoint(path, resume=True), OWN).restore(state, 40)
    assert not state["latent"].any()
    return str(refused.value).removeprefix(f"{path}: ")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    with opened(path) as kept:
        kept.save(12, {"latent": torch.ones(4)})
    data = path.read_bytes()
    for cut in (0, 7, 8, 40, len(data) - 1):
        damaged(path, data[:cut])
    for number in range(len(data)):
        flipped = bytearray(data)
        flipped[number] ^= 1 << number % 8
        damaged(path, bytes(flipped))
    assert "not a checkpoint" in damaged(path, safetensors_bytes({}, {"step": "1"}))


def signed(tensors: Mapping[str, torch.Tensor], **metadata: str) -> bytes:
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return b"".join(FORMAT.parts(arrays, metadata))


@pytest.mark.parametrize("step", ["x", "-5", "", "41", "1.0", "9" * 5000, "\u0663", None])
def test_a_step_that_cannot_be_is_refused(tmp_path: Path, step: str | None) -> None:
    metadata = {"identity": json.dumps(OWN)} | ({} if step is None else {"step": step})
    line = damaged(tmp_path / "kept.safetensors", signed({"latent": torch.ones(4)}, **metadata))
    assert line.startswith("step: expected ")


@pytest.mark.parametrize(
    "state",
    [
        {"latent": torch.ones(1)},
        {"latent": torch.ones(())},
        {"latent": torch.ones(4, dtype=torch.float64)},
        {"latent": torch.ones(2, 2)},
        {},
        {"latent": torch.ones(4), "more": torch.ones(1)},
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "kept.safetensors"
    assert ": expected " in damaged(path, signed(state, identity=json.dumps(OWN), step="12"))


def test_where_it_cannot_be_kept_a_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    objective = Quadratic(0.5)
    whole = search.one_pass(objective, SearchLoop(objective, 20, None))
    with monkeypatch.context() as patched, opened(tmp_path / "kept.safetensors") as kept:
        patched.setattr("os.fsync", full)
        found = search.one_pass(objective, SearchLoop(objective, 20, None, kept=kept))
    assert torch.equal(found, whole)
    (line,) = caplog.messages
    assert "cannot be written (No space left on device)" in line and "the search goes on" in line
    assert list(tmp_path.iterdir()) == []


def test_a_neuron_file_is_the_same_bytes_after_an_interruption(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(2)]
    backbone, subject = load_backbone(tiny_pipeline()), Subject(tuple(images), "robot")
    config = FindConfig(density=0.03, steps=5, batch=2, prior_batch=2, prior_images=2)
    whole = find(backbone, subject, config)

    def on_progress(stage: str, done: int, *_: Any) -> None:
        if (stage, done) == ("search", 4):
            raise Stop

    kept = Checkpoint(tmp_path / "kept.safetensors", every=2)
    with pytest.raises(Stop):
        find(backbone, subject, config, on_progress=on_progress, checkpoint=kept)
    again = Checkpoint(kept.path, every=2, resume=True)
    assert to_bytes(find(backbone, subject, config, checkpoint=again)) == to_bytes(whole)

    def nothing(stage: str, *_: Any) -> None:
        raise AssertionError(stage)

    told = "batch 2 -> 8, prior_batch 2 -> 8, density 0.03 -> 0.025; give those"
    with pytest.raises(InputError, match=told):  # before anything is drawn
        find(
            backbone,
            subject,
            FindConfig(steps=5, prior_images=2),
            on_progress=nothing,
            checkpoint=again,
        )
