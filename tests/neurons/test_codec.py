"""The codec is exact, near the entropy, strict, and has one code for each mask."""

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones.errors import NeuronFileError
from cones.neurons.codec import decode, encode


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Sorted indices and their size; of all densities, in clusters or scattered."""
    size = draw(st.integers(1, 400))
    density = draw(st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random(size) < density
    if draw(st.booleans()):
        mask.sort()
    return np.flatnonzero(mask), size


@given(masks())
def test_it_is_exact(mask: tuple[np.ndarray, int]) -> None:
    indices, size = mask
    decoded = decode(encode(indices, size), size, len(indices))
    assert decoded.dtype == np.int64
    assert np.array_equal(decoded, indices)


@given(masks())
def test_it_is_never_much_longer_than_a_bitmap(mask: tuple[np.ndarray, int]) -> None:
    indices, size = mask
    assert 8 * len(encode(indices, size)) <= size + 16


@given(st.binary(max_size=24), st.integers(1, 300), st.integers(-1, 301))
def test_any_bytes_are_the_one_code_of_their_mask_or_refused(
    data: bytes, size: int, count: int
) -> None:
    try:
        indices = decode(data, size, count)
    except NeuronFileError:
        return
    assert len(indices) == count
    assert not count or (indices[0] >= 0 and indices[-1] < size)
    assert (np.diff(indices) > 0).all()
    assert encode(indices, size) == data


@pytest.mark.parametrize(
    "density", [0.001, 0.003, 0.01, 0.05, 0.1, 0.2, 0.24, 0.25, 0.3, 0.35, 0.382, 0.45, 0.5, 0.8]
)
def test_it_is_near_the_entropy(density: float) -> None:
    size = 1 << 18
    indices = np.flatnonzero(np.random.default_rng(0).random(size) < density)
    p = len(indices) / size
    entropy = -(p * log2(p) + (1 - p) * log2(1 - p)) * size
    assert 8 * len(encode(indices, size)) <= 1.015 * entropy + 8


def test_the_bytes() -> None:
    # 2 of 16: m = 5, b = 2, three short remainders. Gaps 4 and 8: q = 0, 1; r = 4, 3.
    # Unary 1 01; heads 11, 11 (each past the short 00, 01, 10); tails 1, 0; filled with a zero.
    assert encode(np.array([4, 13]), 16) == bytes([0b10111111, 0b00000000])
    # 2 of 5: pairs. 01 10 0: differ 1 1, first 0 1, last 0.
    assert encode(np.array([1, 2]), 5) == bytes([0b11010000])
    # 14 of 16 is the complement of 2 of 16.
    rest = np.delete(np.arange(16), [4, 13])
    assert encode(rest, 16) == encode(np.array([4, 13]), 16)
    assert encode(np.zeros(0, np.int64), 16) == encode(np.arange(16), 16) == b""


CODE = encode(np.array([3, 40, 41, 99]), 100)


@pytest.mark.parametrize(
    ("data", "size", "count", "said"),
    [
        (CODE[:-1], 100, 4, "cut short"),
        (b"", 100, 4, "cut short"),
        (b"\0" * 9, 100, 4, "more than the places"),
        (CODE + b"\0", 100, 4, "bits that are none of it"),
        (CODE[:-1] + bytes([CODE[-1] | 1]), 100, 4, "bits that are none of it"),
        (CODE, 100, 101, "at most 100 neurons, found 101"),
        (CODE, 100, -1, "at most 100 neurons, found -1"),
        (b"\0\1" + b"\xff" * 9, 100, 4, "more than the places"),  # quotients alone
        (b"\xff" * 9, 2**31, 2**30 - 1, "cut short"),  # a bomb
        (b"\0" * 99 + b"\1", 2**31, 1, "more than the places"),  # overflows 64 bits
        (bytes([0b00100000]), 6, 2, "found one more or fewer"),
    ],
)
def test_it_refuses(data: bytes, size: int, count: int, said: str) -> None:
    with pytest.raises(NeuronFileError, match=said):
        decode(data, size, count)


def test_it_takes_the_largest_matrix() -> None:
    size = 2**31
    indices = np.array([0, 1, 2**30, size - 1])
    assert np.array_equal(decode(encode(indices, size), size, 4), indices)
