"""A search that was stopped at any step and resumed ends in the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_search import Quadratic
from tiny import tiny_pipeline

from cones import search
from cones.checkpoint import Checkpoint
from cones.errors import InputError
from cones.find import FindConfig, find
from cones.neuronfile import to_bytes
from cones.pretrained import load_backbone
from cones.search import Steps
from cones.subject import Subject

Search = Callable[[Quadratic, Steps], torch.Tensor]
SEARCHES: dict[str, Search] = {
    "one-pass": lambda objective, steps: search.one_pass(objective, steps),
    "paper": lambda objective, steps: search.paper(objective, steps, 1e-3),
    "fine-tuning": lambda objective, steps: search.fine_tuned(objective, steps, 0.01)[0],
    "mask": lambda objective, steps: search.mask_in_the_loop(objective, 20, steps, 0.05, 1.0),
}


class Stop(Exception):
    """The machine was switched off."""


def stopping(at: int) -> Callable[..., None]:
    def on_step(_: str, done: int, *__: Any) -> None:
        if done == at:
            raise Stop

    return on_step


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("at", [1, 10, 11, 39])
def test_a_stopped_search_goes_on_to_the_same_votes(name: str, at: int, tmp_path: Path) -> None:
    whole = SEARCHES[name](Quadratic(0.5), Steps(Quadratic(0.5), 40, None))
    kept = Checkpoint(tmp_path / "kept.safetensors", every=5)
    objective = Quadratic(0.5)
    with pytest.raises(Stop):
        SEARCHES[name](objective, Steps(objective, 40, stopping(at), checkpoint=kept))
    again = Checkpoint(kept.path, every=5, resume=True)
    seen: list[int] = []
    steps = Steps(objective, 40, lambda _, done, *__: seen.append(done), checkpoint=again)
    assert torch.equal(SEARCHES[name](objective, steps), whole)
    assert seen[0] == (at - 1) // 5 * 5 + 1  # what was kept is not done again


def test_the_count_of_dropped_steps_goes_on(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "kept.safetensors", every=1)
    objective = Quadratic(0.5, broken=2)
    with pytest.raises(Stop):
        search.one_pass(objective, Steps(objective, 60, stopping(4), checkpoint=kept))
    steps = Steps(objective, 60, None, checkpoint=Checkpoint(kept.path, 1, resume=True))
    search.one_pass(objective, steps)
    assert steps.dropped == 2


def test_without_resuming_a_checkpoint_is_replaced(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "kept.safetensors", every=5)
    objective = Quadratic(0.5)
    for _ in range(2):
        seen: list[int] = []
        steps = Steps(objective, 10, lambda _, done, *__, to=seen: to.append(done), checkpoint=kept)
        search.one_pass(objective, steps)
        assert len(seen) == 10


def test_the_checkpoint_of_another_search_is_refused(tmp_path: Path) -> None:
    path, state = tmp_path / "kept.safetensors", {"latent": torch.ones(4)}
    Checkpoint(path).save(3, state, "one")
    with pytest.raises(InputError, match="is of a search with another model, photographs or"):
        Checkpoint(path, resume=True).restore(state, "other")
    with pytest.raises(InputError, match="cannot be resumed from"):
        Checkpoint(path, resume=True).restore({"latent": torch.ones(5)}, "one")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="cannot be resumed from"):
        Checkpoint(path, resume=True).restore(state, "one")
    with pytest.raises(InputError, match="checkpointing_steps: expected at least 1, found 0"):
        Checkpoint(path, 0)


def test_a_neuron_file_is_the_same_bytes_after_an_interruption(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(2)]
    backbone, subject = load_backbone(tiny_pipeline()), Subject(tuple(images), "robot")
    config = FindConfig(density=0.03, steps=5, batch=2, prior_batch=2, prior_images=2)
    whole = find(backbone, subject, config)

    def on_step(stage: str, done: int, *_: Any) -> None:
        if (stage, done) == ("search", 4):
            raise Stop

    kept = Checkpoint(tmp_path / "kept.safetensors", every=2)
    with pytest.raises(Stop):
        find(backbone, subject, config, on_step=on_step, checkpoint=kept)
    again = Checkpoint(kept.path, every=2, resume=True)
    assert to_bytes(find(backbone, subject, config, checkpoint=again)) == to_bytes(whole)
    with pytest.raises(InputError, match="another model, photographs or settings"):
        find(backbone, subject, FindConfig(steps=5, prior_images=2), checkpoint=again)
