"""Selection is pure: the top of the scores, cut into layers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cones.errors import InputError
from cones.search.selection import neuron_count, split_by_layer, top

SHAPES = {"b": (3, 4), "a": (2, 2), "c": (5, 1)}
TOTAL = 12 + 4 + 5


@given(st.sets(st.integers(0, TOTAL - 1)))
def test_cutting_into_layers_loses_nothing(positions: set[int]) -> None:
    chosen = torch.tensor(sorted(positions, reverse=True), dtype=torch.int64)
    layers = split_by_layer(chosen, SHAPES)
    flat = np.zeros(TOTAL, bool)
    start = 0
    for layer, shape in SHAPES.items():
        index = layers[layer]
        assert index.dtype == np.int64 and (np.diff(index) > 0).all()
        assert index.size == 0 or (index[0] >= 0 and index[-1] < shape[0] * shape[1])
        flat[start + index] = True
        start += shape[0] * shape[1]
    assert set(np.flatnonzero(flat).tolist()) == positions


def test_top_is_the_largest() -> None:
    values = torch.tensor([0.5, -2.0, 3.0, 0.0, 2.5])
    assert set(top(values, 2).tolist()) == {2, 4}


def test_smaller_selections_are_part_of_larger_ones() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert set(top(values, 50).tolist()) < set(top(values, 100).tolist())


def test_nan_is_never_ranked() -> None:
    with pytest.raises(InputError, match="NaN"):
        top(torch.tensor([1.0, float("nan")]), 1)


def test_a_density_is_so_many_neurons() -> None:
    assert neuron_count(0.25, 1000) == 250
    assert neuron_count(0.25, 1000, subjects=2) == 500
    with pytest.raises(InputError, match=r"is not one neuron; expected at least 0\.001"):
        neuron_count(1e-4, 1000)
