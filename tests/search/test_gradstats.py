"""Streaming statistics equal those of all batches at once, however they came."""

import pytest
import torch

from cones.errors import InputError
from cones.search.gradstats import GradientStats


def scores(count: int, size: int = 50) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(count))


def streamed(rows: torch.Tensor) -> GradientStats:
    stats = GradientStats.zeros(rows.shape[1])
    for row in rows:
        stats.update(row)
    return stats


def test_means_are_those_of_all_batches() -> None:
    rows = scores(17)
    stats = streamed(rows)
    torch.testing.assert_close(stats.mean, rows.mean(0))
    assert stats.count == 17


def test_seeing_everything_twice_changes_no_mean() -> None:
    rows = scores(9)
    once, twice = streamed(rows), streamed(torch.cat([rows, rows]))
    torch.testing.assert_close(once.mean, twice.mean)
    assert torch.equal(once.mean.topk(10).indices, twice.mean.topk(10).indices)


@pytest.mark.parametrize("cut", [0, 1, 5, 12])
def test_merging_parts_gives_the_whole(cut: int) -> None:
    rows = scores(12)
    merged = streamed(rows[:cut]).merge(streamed(rows[cut:]))
    torch.testing.assert_close(merged.mean, rows.mean(0))
    assert merged.count == 12


def test_a_resumed_run_ends_in_the_same_bytes() -> None:
    rows = scores(10)
    half = streamed(rows[:5])
    resumed = GradientStats.zeros(rows.shape[1])
    resumed.load_state_dict(half.state_dict())
    for row in rows[5:]:
        resumed.update(row)
    assert torch.equal(resumed.mean, streamed(rows).mean)


def test_the_state_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match="expected 7 weights, found 50"):
        GradientStats.zeros(7).load_state_dict(streamed(scores(2)).state_dict())
