"""Quaternary values: each neuron of a matrix has one of four levels, and stores a code of two bits.

The bytes of a matrix's values, `pack`:

- The four levels, little-endian float32, in increasing order of their bits read as uint32. Fewer
  are filled up with the last of them.
- A code of two bits for each value, which level it is, the first in the highest bits of the first
  byte; the last byte is filled with zeros.

Without neurons there are no bytes. Values have exactly one such form.
"""

import numpy as np
import numpy.typing as npt

from cones.errors import NeuronFileError

Values = npt.NDArray[np.float32]

LEVELS = 4
MAX_ROUNDS = 100  # of Lloyd's algorithm


def fits(values: Values) -> bool:
    """Whether values, float32 [count], are of four levels at most. 0.0 and -0.0 are two."""
    return len(np.unique(values.view(np.uint32))) <= LEVELS


def pack(values: Values) -> bytes:
    """The bytes of values that fit.

    Args:
        values: float32 [count], of four levels at most.
    """
    if not len(values):
        return b""
    levels, codes = np.unique(values.astype("<f4").view("<u4"), return_inverse=True)
    palette = np.pad(levels, (0, LEVELS - len(levels)), mode="edge")
    bits = (codes[:, None] >> np.array([1, 0])) & 1
    return palette.tobytes() + np.packbits(bits.astype(np.bool_)).tobytes()


def unpack(data: bytes, count: int) -> Values:
    """The values of some bytes; `pack` of the result is `data` again.

    Args:
        data: the bytes of `pack`.
        count: how many values there are.

    Returns:
        float32 [count].

    Raises:
        NeuronFileError: `data` is not of `count` values, or not the one form of them.
    """
    expected = 4 * LEVELS + -(-count // 4) if count else 0
    if len(data) != expected:
        raise NeuronFileError(
            f"expected {expected} bytes for {count} quaternary values, found {len(data)}"
        )
    if not count:
        return np.zeros(0, dtype=np.float32)
    palette = np.frombuffer(data[: 4 * LEVELS], dtype="<u4")
    packed = np.frombuffer(data[4 * LEVELS :], dtype=np.uint8)
    codes = ((packed[:, None] >> np.array([6, 4, 2, 0], dtype=np.uint8)) & 3).ravel()
    used = np.flatnonzero(np.bincount(codes[:count], minlength=LEVELS))
    levels = palette[: len(used)]
    if (
        codes[count:].any()
        or used[-1] != len(levels) - 1
        or (levels[1:] <= levels[:-1]).any()
        or (palette[len(levels) :] != levels[-1]).any()
    ):
        raise NeuronFileError("expected quaternary levels in order and codes followed by zeros")
    values: Values = palette.view("<f4").astype(np.float32)[codes[:count]]
    return values


def nearest(values: Values) -> Values:
    """Values rounded to the four levels of the least squared error, by Lloyd's algorithm.

    Values that fit stay as they are.

    Args:
        values: float32 [count], finite.
    """
    if fits(values):
        return values
    order = np.sort(values.astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(order)])
    levels = np.quantile(np.unique(order), np.linspace(0, 1, LEVELS))
    for _ in range(MAX_ROUNDS):
        cuts = np.searchsorted(order, (levels[1:] + levels[:-1]) / 2)
        edges = np.concatenate([[0], cuts, [len(order)]])
        counts = np.diff(edges)
        means = np.where(counts, np.diff(sums[edges]) / np.maximum(counts, 1), levels)
        if np.array_equal(means, levels):
            break
        levels = means
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
    rounded: Values = levels.astype(np.float32)[codes]
    return rounded
