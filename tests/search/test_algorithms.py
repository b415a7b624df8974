"""The searches, on objectives whose best masks are known."""

from collections.abc import Mapping

import pytest
import torch
from quadratic import Quadratic
from torch import Tensor

from cones.errors import ConesError
from cones.search import algorithms as search
from cones.search.loop import SearchLoop
from cones.search.selection import top


def steps(objective: Quadratic, total: int = 80) -> SearchLoop:
    return SearchLoop(objective, total, None)


def in_loop(objective: Quadratic, total: int = 80) -> Tensor:
    return top(search.mask_in_the_loop(objective, 20, steps(objective, total), 0.05, 1.0), 20)


def in_one_pass(objective: Quadratic, total: int = 80) -> Tensor:
    return top(search.one_pass(objective, steps(objective, total)), 20)


def test_all_searches_find_planted_weights_that_act_alone() -> None:
    objective = Quadratic(coupling=0.0)
    planted = set(objective.planted.tolist())
    assert set(in_one_pass(objective).tolist()) == planted
    walked = search.paper(objective, steps(objective), 1e-3)
    assert set(top(walked, 20).tolist()) == planted
    assert set(in_loop(objective).tolist()) == planted


def test_the_mask_in_the_loop_minds_how_weights_act_together() -> None:
    gains = []
    for seed in range(5):
        objective = Quadratic(coupling=0.7, seed=seed)
        naive = objective.shut(in_one_pass(objective))
        gains.append(objective.shut(in_loop(objective)) / naive)
    assert max(gains) < 1.0 and sum(gains) / len(gains) < 0.75


def test_the_first_mask_is_of_the_largest_gradients() -> None:
    """All scores are of one size then, and rounding would choose."""
    seen = []

    class Watched(Quadratic):
        def gradient(self, weights: Tensor, step: int) -> tuple[Mapping[str, Tensor], Tensor]:
            seen.append(weights.clone())
            return super().gradient(weights, step)

    objective = Watched(coupling=0.7)
    search.mask_in_the_loop(objective, 100, steps(objective, 4), 0.03, 1.0)
    score = objective.theta * Quadratic.gradient(objective, objective.theta, 0)[1]
    assert torch.equal(seen[1] == 0, score >= score.topk(50).values[-1])


def test_a_search_scores_every_weight_and_leaves_theta() -> None:
    objective = Quadratic(coupling=0.3)
    before = objective.theta.clone()
    for scores in (
        search.one_pass(objective, steps(objective, 3)),
        search.paper(objective, steps(objective, 3), 2e-5),
        search.mask_in_the_loop(objective, 7, steps(objective, 3), 0.03, 2.0),
    ):
        assert scores.shape == before.shape and len(scores.unique()) > 300
    assert torch.equal(objective.theta, before)


def test_the_walk_of_the_paper_walks_even_in_tiny_steps() -> None:
    seen = []

    class Watched(Quadratic):
        def gradient(self, weights: Tensor, step: int) -> tuple[Mapping[str, Tensor], Tensor]:
            seen.append(weights.clone())
            return {"subject": torch.tensor(0.0)}, 1e-2 * self.theta.sign()

    objective = Watched(coupling=0.0)
    search.paper(objective, steps(objective, 50), 2e-5)
    assert torch.equal(seen[0], objective.theta)
    assert not torch.equal(seen[-1], objective.theta)


def test_a_run_twice_as_long_of_one_pass_selects_the_same() -> None:
    objective = Quadratic(coupling=0.5)
    short, long = (in_one_pass(objective, n) for n in (10, 20))
    assert set(short.tolist()) == set(long.tolist())


def test_few_batches_that_are_not_finite_are_dropped() -> None:
    objective = Quadratic(coupling=0.0, broken=2)
    counted = steps(objective, 60)
    scores = search.mask_in_the_loop(objective, 20, counted, 0.05, 1.0)
    assert counted.dropped == 2
    assert set(top(scores, 20).tolist()) == set(objective.planted.tolist())


def test_many_batches_that_are_not_finite_end_the_search() -> None:
    objective = Quadratic(coupling=0.0, broken=10)
    with pytest.raises(ConesError, match=r"4 of 60 batches gave NaN.*--mixed_precision no"):
        search.one_pass(objective, steps(objective, 60))


def test_every_step_is_reported() -> None:
    seen: list[tuple[str, int, int]] = []
    objective = Quadratic(coupling=0.0)
    told = SearchLoop(objective, 4, lambda stage, done, total, _: seen.append((stage, done, total)))
    search.one_pass(objective, told)
    assert seen == [("search", k, 4) for k in (1, 2, 3, 4)]


def test_fine_tuning_goes_where_the_loss_is_least() -> None:
    objective = Quadratic(coupling=0.5)
    weights, squares = search.fine_tune(objective, steps(objective, 400), 0.05)
    assert objective.loss(weights) < 0.01 * objective.loss(objective.theta)
    assert squares.shape == weights.shape and bool((squares > 0).all())
