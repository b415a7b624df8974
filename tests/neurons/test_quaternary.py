"""Quaternary values: two bits each, bit for bit, and the levels of the least error."""

from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors

from cones.errors import NeuronFileError
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import FORMAT, _metadata, load, to_bytes
from cones.neurons.quaternary import Values, fits, nearest, pack, unpack

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def four_levels(draw: st.DrawFn) -> Values:
    levels = draw(st.lists(FLOATS, min_size=1, max_size=4))
    return np.array(draw(st.lists(st.sampled_from(levels), max_size=40)), dtype=np.float32)


@given(four_levels())
def test_it_is_exact_and_takes_two_bits_each(values: Values) -> None:
    data = pack(values)
    read = unpack(data, len(values))
    assert read.tobytes() == values.tobytes() and read.dtype == np.float32
    assert len(data) == (16 + -(-len(values) // 4) if len(values) else 0)
    assert nearest(values).tobytes() == values.tobytes()


def test_the_bytes() -> None:
    values = np.array([0.5, -1, 0.5, 0, -2], dtype=np.float32)
    levels = np.array([0, 0.5, -1, -2], dtype="<f4")  # in the order of their bits
    assert pack(values) == levels.tobytes() + bytes([0b01100100, 0b11000000])
    fewer = np.array([0.5, -1], dtype=np.float32)
    levels = np.array([0.5, -1, -1, -1], dtype="<f4")
    assert pack(fewer) == levels.tobytes() + bytes([0b00010000])


def test_zeros_of_both_signs_are_two_levels() -> None:
    values = np.array([0.0, -0.0, 1, 2, 3], dtype=np.float32)
    assert fits(values[:4]) and not fits(values)
    assert unpack(pack(values[:4]), 4).tobytes() == values[:4].tobytes()


def test_other_bytes_are_refused() -> None:
    data = pack(np.array([1, 2, 3, 4, 1], dtype=np.float32))
    with pytest.raises(NeuronFileError, match="expected 18 bytes for 5 quaternary values, found 1"):
        unpack(data[:1], 5)
    with pytest.raises(NeuronFileError, match="expected 0 bytes for 0 quaternary values, found 18"):
        unpack(data, 0)
    for wrong in (data[:-1] + b"\x01", data[4:8] + data[:4] + data[8:]):
        with pytest.raises(NeuronFileError, match="levels in order and codes followed by zeros"):
            unpack(wrong, 5)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=60))
def test_rounding_fits_and_is_done_once(values: list[float]) -> None:
    given = np.array(values, dtype=np.float32)
    rounded = nearest(given)
    assert fits(rounded) and len(rounded) == len(given)
    assert nearest(rounded).tobytes() == rounded.tobytes()
    assert given.min() <= rounded.min() and rounded.max() <= given.max()


def test_the_levels_are_nearly_the_best_of_a_normal_distribution() -> None:
    """Lloyd and Max: four levels leave 0.1175 of the variance."""
    values = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    assert np.square(values - nearest(values)).mean() == pytest.approx(0.1175, abs=0.004)


def test_every_value_has_the_nearest_level() -> None:
    values = np.random.default_rng(1).exponential(size=500).astype(np.float32)
    rounded = nearest(values)
    best = np.full(len(values), inf)
    for level in np.unique(rounded):
        best = np.minimum(best, np.abs(values - level))
    np.testing.assert_allclose(np.abs(values - rounded), best, atol=1e-6)


LEVELS = np.random.default_rng(2).choice([-1.5, -0.25, 0.5, 2], 60)
NEURONS = ConceptNeurons(
    {"k": (10, 10), "v": (3, 3)}, {"k": np.arange(60)}, {"k": LEVELS, "v": np.zeros(0)}
)


def written(values: np.ndarray) -> bytes:
    """The file of NEURONS with its values stored in some way."""
    tensors = {**load_tensors(to_bytes(NEURONS)), "k.values": values}
    tensors["v.values"] = np.zeros(0, values.dtype)
    return b"".join(FORMAT.parts(tensors, _metadata(NEURONS)))


def test_a_file_stores_them_where_that_is_shortest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(to_bytes(NEURONS))
    tensors = load_tensors(to_bytes(NEURONS))
    assert tensors["k.values"].dtype == np.uint8 and len(tensors["k.values"]) == 16 + 15
    assert len(tensors["v.values"]) == 0
    assert load(tmp_path / "a") == NEURONS


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_file_that_stores_them_otherwise_is_read(tmp_path: Path, kind: type) -> None:
    """As all were before there was the quaternary form."""
    (tmp_path / "a").write_bytes(written(LEVELS.astype(kind)))
    assert load(tmp_path / "a") == NEURONS


def test_a_damaged_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(written(np.zeros(30, dtype=np.uint8)))
    with pytest.raises(NeuronFileError, match=r"k: expected 31 bytes .* found 30; the file is dam"):
        load(tmp_path / "a")
