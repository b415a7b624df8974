"""The toybox's gate: the judge, and what the shipped model can draw."""

import json
import math

import pytest
import torch
from tiny import tiny_pipeline

from benchmarks import gate
from benchmarks.judge import Judge, Verdict, example, train_judge
from cones.models.loading import load_backbone
from cones.toybox import weights
from cones.toybox.render import render
from cones.toybox.world import CLASSES, PLACES

NUM = 96  # prompts of each kind; all 500 by `python -m benchmarks.gate`


@pytest.mark.parametrize("things", [1, 2, 4])
def test_prompts_name_what_their_scene_shows(things: int) -> None:
    asked = gate.ask(things, 80)
    assert asked == gate.ask(things, 80)
    for text, scene in asked:
        said = text.replace(",", " ").split()
        assert len(scene.things) == things
        assert {thing.noun for thing in scene.things} == set(said) & set(CLASSES)
        assert PLACES[scene.place] in text
    assert {scene.place for _, scene in asked} == set(PLACES)
    assert len({text for text, _ in asked}) > 60


def test_a_verdict_wants_its_classes_before_all_others() -> None:
    areas = torch.zeros(4, len(CLASSES))
    areas[0, [0, 1]] = torch.tensor([30.0, 20.0])
    areas[1, [0, 2, 1]] = torch.tensor([30.0, 20.0, 10.0])
    areas[2, [0, 1]] = torch.tensor([30.0, 0.5])
    verdict = Verdict(areas, torch.tensor([0, 1, 2, 3]))
    both = verdict.shows([[CLASSES[0], CLASSES[1]]] * 4)
    assert both.tolist() == [True, False, False, False]
    assert verdict.shows([[CLASSES[0]]] * 4).tolist() == [True, True, True, False]
    assert verdict.stands([list(PLACES)[1]] * 4).tolist() == [False, True, False, False]


def test_cells_tell_how_much_each_class_covers() -> None:
    for _, scene in gate.ask(2, 5):
        _, cells, place = example(scene)
        assert torch.from_numpy(cells).sum(0).sub(1).abs().max() < 1e-6
        assert list(PLACES)[place] == scene.place
        for thing, mask in zip(scene.things, render(scene).masks, strict=True):
            assert cells[1 + CLASSES.index(thing.noun)].sum() * 16 == pytest.approx(mask.sum())


def test_the_judge_follows_from_its_arguments() -> None:
    state = torch.get_rng_state()
    one, two = train_judge(40, 1), train_judge(40, 1)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_gate_looks_at_drawn_decoded_and_rendered_pictures() -> None:
    """A random model fails, and the report says so."""
    backbone = load_backbone(tiny_pipeline())
    checks = gate.gate(backbone, train_judge(40, 1), 2, steps=1)
    assert [check.name for check in checks] == ["1 thing", "place", "2 things", "4 things"]
    assert not all(check.passed for check in checks)
    for check in checks:
        assert {check.drawn, check.decoded, check.renders} <= {0.0, 0.5, 1.0}


def test_just_enough_is_enough() -> None:
    """The mean of 95 of 100 in float32 is less than 0.95."""
    right = torch.arange(100) < 95
    assert gate._check("1 thing", [right] * 3, 0.95).passed
    assert not gate._check("1 thing", [right.roll(1) & right] * 3, 0.95).passed


@pytest.fixture(scope="module")
def judge() -> Judge:
    return train_judge()


@pytest.fixture(scope="module")
def checks(judge: Judge) -> dict[str, gate.Check]:
    found = gate.gate(load_backbone("toybox"), judge, NUM)
    return {check.name: check for check in found}


@pytest.mark.slow
@pytest.mark.parametrize(("things", "least"), [(1, 0.98), (2, 0.95), (4, 0.75)])
def test_the_judge_is_right_about_renders(judge: Judge, things: int, least: float) -> None:
    scenes = [scene for _, scene in gate.ask(things, 300)]
    verdict = judge.look([render(scene).image for scene in scenes])
    nouns = [[thing.noun for thing in scene.things] for scene in scenes]
    assert verdict.shows(nouns).float().mean() >= least
    assert verdict.stands([scene.place for scene in scenes]).float().mean() >= 0.99


@pytest.mark.slow
def test_the_shipped_model_draws_what_its_record_says(checks: dict[str, gate.Check]) -> None:
    """Three standard errors of both figures below the record would be no chance any more."""
    record = json.loads((weights("pipeline").parent / "gate.json").read_text())
    assert {entry["name"] for entry in record["checks"]} == set(checks)
    for entry in record["checks"]:
        rate, check = entry["drawn"], checks[entry["name"]]
        error = math.sqrt(rate * (1 - rate) * (1 / entry["num"] + 1 / NUM))
        assert check.drawn >= rate - 3 * error, check


@pytest.mark.slow
def test_the_shipped_model_passes(checks: dict[str, gate.Check]) -> None:
    for check in checks.values():
        error = math.sqrt(check.wanted * (1 - check.wanted) / check.num)
        assert check.drawn >= check.wanted - 3 * error, check
