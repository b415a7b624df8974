"""The metrics as what they are defined to be."""

import math

import pytest
import torch
from torch import Tensor

from cones.errors import ConesError
from cones.evaluation import metrics


def unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def test_text_alignment_compares_each_picture_with_its_own_prompt() -> None:
    images = torch.eye(3)
    assert metrics.text_alignment(images, torch.eye(3)) == 1
    assert metrics.text_alignment(images, torch.eye(3).roll(1, 0)) == 0
    assert metrics.text_alignment(images, -torch.eye(3)) == -1


def test_image_alignment_is_the_mean_over_all_pairs() -> None:
    images, photos = unit(7, 5), unit(3, 5)
    pairs = [float(image @ photo) for image in images for photo in photos]
    assert metrics.image_alignment(images, photos) == pytest.approx(sum(pairs) / 21, abs=1e-6)


def test_drift_is_zero_without_change_and_two_at_the_most() -> None:
    features = unit(6, 4)
    assert metrics.drift(features, features) == pytest.approx(0, abs=1e-6)
    assert metrics.drift(features, -features) == pytest.approx(2, abs=1e-6)


def test_share_is_the_way_from_floor_to_ceiling() -> None:
    assert metrics.share(0.5, 0.5, 0.9) == 0
    assert metrics.share(0.9, 0.5, 0.9) == 1
    assert metrics.share(0.6, 0.5, 0.9) == pytest.approx(0.25)
    assert metrics.share(0.4, 0.5, 0.9) == pytest.approx(-0.25)
    assert metrics.share(0.6, 0.9, 0.9) is None
    assert metrics.share(0.6, 0.9, 0.5) is None
    assert metrics.share(0.6, 0.5, 0.5 + 1e-6) is None  # no way that a share can be told of


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_no_score_is_of_nothing_or_of_what_is_not_finite(value: float | None) -> None:
    features = unit(2, 3) if value is not None else torch.zeros(0, 3)
    features[:1] = value or 0
    for measured in (
        lambda: metrics.text_alignment(features, features),
        lambda: metrics.image_alignment(features, unit(1, 3)),
        lambda: metrics.drift(features, features),
        lambda: metrics.presence(features, [0], [1] * len(features)),
        lambda: metrics.mean_and_se([] if value is None else [1.0, value]),
    ):
        with pytest.raises(ConesError, match=r"expected finite values"):
            measured()


def test_mean_and_standard_error() -> None:
    assert metrics.mean_and_se([2.0]) == (2.0, None)
    mean, error = metrics.mean_and_se([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert error == pytest.approx(math.sqrt(5 / 3) / 2)


def test_group_means_keep_the_order_of_the_groups() -> None:
    values = torch.tensor([1.0, 3.0, 10.0, 2.0])
    assert metrics.group_means(values, ["b", "b", "a", "b"]) == [2.0, 10.0]


def test_presence_counts_the_likeliest_kinds_as_many_as_the_prompt_names() -> None:
    likely = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.8, 0.9]])
    assert metrics.presence(likely, [0], [1, 1]) == 0.5
    assert metrics.presence(likely, [1], [1, 1]) == 0
    assert metrics.presence(likely, [1], [2, 1]) == 0.5
    assert metrics.presence(likely, [0, 1], [2, 2]) == 0.75
    assert metrics.presence(likely, [0, 1, 2], [3, 3]) == 1
