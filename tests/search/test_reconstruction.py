"""The mask that does what dense fine-tuning did."""

import pytest
import torch

from cones.search.reconstruction import Matrix, error, reconstruct


def matrix(seed: int, rows: int = 12, columns: int = 200, words: int = 3) -> Matrix:
    """Fine-tuning that moved what the matrix makes of the first of some words."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) / columns**0.5
    inputs = torch.randn(words, columns, generator=generator)
    wanted = torch.randn(rows, generator=generator)
    change = wanted[:, None] * torch.linalg.pinv(inputs)[:, 0]
    return Matrix(weight, change, inputs.T @ inputs / words, torch.ones(rows))


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_few_neurons_do_what_dense_fine_tuning_did(strength: float) -> None:
    matrices = [matrix(seed) for seed in range(3)]
    masks = reconstruct(matrices, 720, strength)
    assert 0 < sum(int(mask.sum()) for mask in masks) <= 720
    assert all(error(*pair, strength) < 0.02 for pair in zip(matrices, masks, strict=True))


def test_fewer_neurons_leave_more_of_the_error() -> None:
    one = matrix(4)
    errors = [error(one, reconstruct([one], count)[0]) for count in (10, 30, 100, 300)]
    assert errors == sorted(errors, reverse=True) and errors[0] < 1


def test_random_neurons_do_not() -> None:
    one = matrix(0)
    chance = torch.rand(12, 200, generator=torch.Generator().manual_seed(0)) < 0.1
    assert error(one, chance) > 0.9


@pytest.mark.parametrize("count", [1, 7, 60])
def test_the_number_of_neurons_is_kept_to(count: int) -> None:
    (mask,) = reconstruct([matrix(1)], count)
    assert mask.shape == (12, 200) and 0.9 * count <= int(mask.sum()) <= count


def test_no_more_are_shut_than_help() -> None:
    one = matrix(1)
    (mask,) = reconstruct([one], 2000)
    assert int(mask.sum()) < 1000
    for place in range(0, mask.numel(), 37):
        row, column = divmod(place, mask.shape[1])
        flipped = mask.clone()
        flipped[row, column] ^= True
        assert error(one, flipped) >= error(one, mask) * (1 - 1e-4)


def test_neurons_go_where_errors_matter() -> None:
    one = matrix(2)
    skewed = Matrix(one.weight, one.change, one.gram, torch.tensor([100.0] * 6 + [0.01] * 6))
    (mask,) = reconstruct([skewed], 20)
    assert mask[:6].sum() > 3 * mask[6:].sum()


def test_no_change_shuts_nothing() -> None:
    one = matrix(3)
    still = Matrix(one.weight, torch.zeros_like(one.weight), one.gram, one.importance)
    assert not reconstruct([still], 5)[0].any()
