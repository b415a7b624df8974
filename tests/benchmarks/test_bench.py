"""benchmarks.step and benchmarks.switch on a small model: whole, and each figure of something."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import rival_steps, step, switch
from benchmarks.stable_diffusion import FULL, TINY, Workload, random_unet
from cones.neurons.projections import projections
from cones.search import batches
from cones.search.config import FindConfig

KEYS = {
    "find_over_forward",
    "find_over_dreambooth",
    "find_over_custom_diffusion",
    "find_over_textual_inversion",
    "peak_memory_over_forward",
}


@pytest.fixture(scope="module")
def work() -> Workload:
    return Workload.random(TINY, 64, batch=1)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str) -> str:
    program = {"step": step, "switch": switch}[arguments[0]]
    monkeypatch.setattr("sys.argv", [*arguments, "--tiny", "--resolution", "64"])
    program.main()
    return capsys.readouterr().out


def in_here(name: str, *_: object) -> int | None:
    return {"dreambooth": None, "saving_forward": 5}.get(name, 10)


def test_steps_are_measured_and_what_finds_no_room_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(step, "peak_alone", in_here)
    arguments = ("step", "--batch", "1", "--rounds", "2")
    found = json.loads(run(monkeypatch, capsys, *arguments, "--json"))
    assert found.keys() >= KEYS and found["peak_memory_over_forward"] == 2
    assert found["find_over_dreambooth"] is None and "dreambooth" not in found["seconds"]
    assert all(found[key] > 0 for key in KEYS - {"find_over_dreambooth"})
    assert found["samples"] == 2 and found["dtype"] == "float32"
    text = run(monkeypatch, capsys, *arguments)
    assert "peak memory of find over saving_forward: 2.00" in text
    assert [line.split()[0] for line in text.splitlines()[1:7]] == ["find", *step.ALONE]


def test_every_round_is_timed_once_for_each(work: Workload) -> None:
    seconds = step.seconds_in_turn(work, ["forward", "textual_inversion"], rounds=2)
    assert {name: len(each) for name, each in seconds.items()} == {
        "find": 2,
        "forward": 2,
        "textual_inversion": 2,
    }
    assert min(min(each) for each in seconds.values()) > 0


def test_what_a_search_asks_once_is_shared_by_its_steps(
    work: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    own = batches.loss.own_prediction
    monkeypatch.setattr(
        batches.loss, "own_prediction", lambda *each: asked.append(each) or own(*each)
    )
    ticks = itertools.count()
    monkeypatch.setattr(step, "clock", lambda: float(next(ticks)))
    seconds = step.seconds_in_turn(work, [], rounds=2)
    assert len(asked) == batches.PRIOR_BATCHES
    assert seconds == {"find": [1 + 1 / FindConfig().steps] * 2}


def changed(work: Workload, rival: str) -> tuple[set[str], int]:
    """Which parameters of the UNet two steps change, and how many rows of the embedding."""
    table = work.backbone.pipeline.text_encoder.get_input_embeddings().weight
    before = {name: each.clone() for name, each in work.unet.named_parameters()}
    rows = table.clone()
    take = step.ALONE[rival](work)
    take()
    take()
    unet = work.unet.named_parameters()
    names = {name for name, each in unet if not torch.equal(each, before[name])}
    return names, int((table != rows).any(1).sum())


def test_each_rival_trains_what_its_script_trains(work: Workload) -> None:
    everything = {name for name, _ in work.unet.named_parameters()}
    assert changed(work, "forward") == (set(), 0)
    assert changed(work, "saving_forward") == (set(), 0)
    assert changed(work, "textual_inversion") == (set(), 1)
    found, rows = changed(work, "dreambooth")
    assert len(found) > 0.9 * len(everything) and rows == 0
    frozen = [work.unet, work.backbone.pipeline.text_encoder, work.backbone.pipeline.vae]
    assert not any(each.requires_grad for part in frozen for each in part.parameters())
    assert all(each.grad is None for part in frozen for each in part.parameters())


def test_custom_diffusion_trains_copies_and_leaves_the_unet_its_own(
    work: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, layers = dict(work.unet.attn_processors), rival_steps.custom_layers(work.unet)
    with torch.no_grad():
        plain = work.forward()
        for attention, _, new in layers:
            attention.set_processor(new)
        copied = work.forward()
        for attention, processor, _ in layers:
            attention.set_processor(processor)
    torch.testing.assert_close(copied, plain)
    monkeypatch.setattr(rival_steps, "custom_layers", lambda unet: layers)
    copies = [each for _, _, new in layers for each in new.parameters()]
    before = [each.clone() for each in copies]
    assert changed(work, "custom_diffusion")[0] == set()
    assert work.unet.attn_processors == own
    assert len(copies) == len(projections(work.unet))
    assert not any(torch.equal(*pair) for pair in zip(copies, before, strict=True))


def test_switching_leaves_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = ("switch", "--switches", "20", "--rounds", "2")
    found = json.loads(run(monkeypatch, capsys, *arguments, "--json"))
    assert found["weights_identical"] is True and found["switches"] == 20
    assert found["neurons"] == round(FindConfig().density * found["weights"])
    assert 0 < found["file_bytes"] < found["weights"]
    for key in ("on_seconds", "off_seconds", "step_seconds", "shut_step_over_step"):
        assert 0 < found[key]["low"] <= found[key]["median"] <= found[key]["high"]
    assert "the weights are the same bytes" in run(monkeypatch, capsys, *arguments)


def test_a_changed_weight_is_seen() -> None:
    unet = random_unet(TINY)
    before = switch.weights_hash(unet)
    with torch.no_grad():
        next(unet.parameters()).view(-1)[0] += 1e-3
    assert switch.weights_hash(unet) != before


def test_the_model_has_the_numbers_of_stable_diffusion() -> None:
    with torch.device("meta"):
        unet = random_unet(FULL)
    assert sum(each.numel() for each in unet.parameters()) == 859_520_964
    crossing = [
        each
        for name, each in unet.named_parameters()
        if "attn2.to_k" in name or "attn2.to_v" in name
    ]
    assert sum(each.numel() for each in crossing) == 19_169_280


@pytest.mark.slow
def test_the_whole_benchmark_runs_as_a_command() -> None:
    """With a process for each peak."""
    arguments = ["--tiny", "--resolution", "64", "--batch", "1", "--rounds", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.step", *arguments],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(found[key] > 0 for key in KEYS)
