"""Sorted indices <-> bytes near the entropy of a random mask.

A mask of `count` ones among `size` places has the code below; `size` and `count` are known to the
decoder, everything else follows from them, so a mask has exactly one code. Bits are packed from
the highest of each byte, the last byte is filled with zeros.

- More ones than zeros: the code of the complement.
- At most 30 % ones: *Golomb*. The gap before each one (the zeros since the last) is q * m + r with
  m = max(1, floor(0.693 * size / count + 0.15)). Three sections: every q in unary (q zeros, a
  one); every r in b = floor(log2 m) bits, where the 2^(b+1) - m smallest stand for themselves and
  the rest for two values each; for these, one bit each that tells the two apart.
- Else *pairs*: for each pair of places (a, b) the bit a xor b; then a for each pair that differs;
  then the last place if `size` is odd; then the code of the mask of the pairs that are alike.

On random masks this is within 1.3 % of the entropy H(p) * size at every density p (Golomb alone
loses 4 % near p = 0.38); on no mask is it longer than `size` bits and a few.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cones.errors import NeuronFileError

Indices = npt.NDArray[np.int64]
Gaps = npt.NDArray[np.uint32]
Bits = npt.NDArray[np.bool_]


def encode(indices: Indices, size: int) -> bytes:
    """The code of a mask.

    Args:
        indices: the places of the ones, int64 [count], strictly increasing, in [0, size).
        size: the number of places.

    Returns:
        The bytes; `decode(encode(indices, size), size, len(indices))` equals `indices`.
    """
    sections: list[Bits] = []
    _encode(indices, size, sections.append)
    return np.packbits(np.concatenate(sections or [_NO_BITS])).tobytes()


def decode(data: bytes, size: int, count: int) -> Indices:
    """The mask of a code; `encode` of the result is `data` again.

    It takes 9 bytes of memory for each byte of `data`, and 17 for each one: who reads what others
    wrote bounds `count` first.

    Args:
        data: the bytes of `encode`.
        size: the number of places.
        count: the number of ones, at most `size`.

    Returns:
        The places of the ones, int64 [count], strictly increasing, in [0, size); read-only.

    Raises:
        NeuronFileError: `data` is no code of such a mask.
    """
    reader = _Reader(data)
    indices = _decode(reader, size, count)
    reader.close()
    indices.setflags(write=False)
    return indices


_NO_BITS: Bits = np.zeros(0, dtype=np.bool_)
_BLOCK = 2**20  # bits
_TOO_FAR = "the gaps add up to more than the places of the matrix"


class _Reader:
    """Hands out the bits of a code from its front; unpacks no more than is asked for."""

    def __init__(self, data: bytes) -> None:
        self._bytes = np.frombuffer(data, dtype=np.uint8)
        self._at = 0

    def take(self, count: int) -> Bits:
        """The next `count` bits."""
        size = 8 * len(self._bytes)
        if self._at + count > size:
            raise NeuronFileError(
                f"the code is cut short: expected at least {self._at + count} bits, found {size}"
            )
        first, self._at = self._at, self._at + count
        part = np.unpackbits(self._bytes[first // 8 : -(-self._at // 8)]).view(np.bool_)
        return part[first % 8 : first % 8 + count]

    def unary(self, count: int, most: int) -> Gaps:
        """The next `count` numbers in unary, uint32 [count], which add up to `most` or less."""
        start, blocks, found = self._at, [], 0
        while found < count:
            at = self._at
            allowed, left = start + count + most - at, 8 * len(self._bytes) - at
            if not allowed:
                raise NeuronFileError(_TOO_FAR)
            if not left:
                raise NeuronFileError(f"the code is cut short: expected {count} gaps, found fewer")
            block = self.take(min(_BLOCK, allowed, left))
            blocks.append((np.flatnonzero(block) + (at - start)).astype(np.uint32))
            found += len(blocks[-1])
        ends = np.concatenate(blocks)[:count]
        self._at = start + int(ends[-1]) + 1
        ends[1:] -= ends[:-1] + 1
        return ends

    def close(self) -> None:
        """Refuses what lies beyond the code: whole bytes, or a last one not filled with zeros."""
        left = 8 * len(self._bytes) - self._at
        if left >= 8 or self.take(left).any():
            raise NeuronFileError(f"the code is followed by {left} bits that are none of it")


def _encode(indices: Indices, size: int, put: Callable[[Bits], None]) -> None:
    if 2 * len(indices) > size:
        indices = _complement(indices, size)
    if _is_sparse(size, len(indices)):
        _encode_gaps(indices, size, put)
    else:
        _encode_pairs(indices, size, put)


def _decode(reader: _Reader, size: int, count: int) -> Indices:
    if not 0 <= count <= size:
        raise NeuronFileError(f"expected at most {size} neurons, found {count}")
    if 2 * count > size:
        return _complement(_decode(reader, size, size - count), size)
    if _is_sparse(size, count):
        return _decode_gaps(reader, size, count)
    return _decode_pairs(reader, size, count)


def _is_sparse(size: int, count: int) -> bool:
    return 10 * count <= 3 * size


def _complement(indices: Indices, size: int) -> Indices:
    rest = np.ones(size, dtype=np.bool_)
    rest[indices] = False
    return np.flatnonzero(rest)


def _golomb(size: int, count: int) -> tuple[int, int, int]:
    """The parameter m, the bits b of a short remainder, and how many remainders are short."""
    m = max(1, (693 * size + 150 * count) // (1000 * count))
    b = m.bit_length() - 1
    return m, b, (2 << b) - m


def _encode_gaps(indices: Indices, size: int, put: Callable[[Bits], None]) -> None:
    if not len(indices):
        return
    m, b, short = _golomb(size, len(indices))
    quotient, remainder = np.divmod(np.diff(indices, prepend=-1) - 1, m)
    unary = np.zeros(int(quotient.sum()) + len(quotient), dtype=np.bool_)
    unary[np.cumsum(quotient + 1) - 1] = True
    put(unary)
    long = remainder >= short
    head = np.where(long, (remainder + short) >> 1, remainder)
    bits = np.empty((len(head), b), dtype=np.bool_)
    for place in range(b):
        bits[:, place] = (head >> (b - 1 - place)) & 1
    put(bits.ravel())
    put(((remainder[long] + short) & 1).astype(np.bool_))


def _decode_gaps(reader: _Reader, size: int, count: int) -> Indices:
    if not count:
        return np.zeros(0, dtype=np.int64)
    m, b, short = _golomb(size, count)
    gaps = reader.unary(count, (size - count) // m)
    gaps *= np.uint32(m)  # at most `size`, and the remainders are below m: nothing overflows
    bits, remainder = reader.take(count * b).reshape(count, b), np.zeros(count, dtype=np.uint32)
    for place in range(b):
        remainder <<= 1
        remainder |= bits[:, place]
    del bits
    long = remainder >= short
    np.multiply(remainder, 2, out=remainder, where=long)
    np.subtract(remainder, np.uint32(short), out=remainder, where=long)
    tail = np.zeros(count, dtype=np.bool_)
    tail[long] = reader.take(int(np.count_nonzero(long)))
    gaps += remainder
    gaps += tail
    gaps += 1
    indices: Indices = np.cumsum(gaps, dtype=np.int64)
    indices -= 1
    if indices[-1] >= size:
        raise NeuronFileError(_TOO_FAR)
    return indices


def _encode_pairs(indices: Indices, size: int, put: Callable[[Bits], None]) -> None:
    mask = np.zeros(size, dtype=np.bool_)
    mask[indices] = True
    first, second = mask[: size - 1 : 2], mask[1::2]
    differ = first ^ second
    put(differ)
    put(first[differ])
    put(mask[size - size % 2 :])
    alike = first[~differ]
    _encode(np.flatnonzero(alike), len(alike), put)


def _decode_pairs(reader: _Reader, size: int, count: int) -> Indices:
    mask = np.zeros(size, dtype=np.bool_)
    first, second = mask[: size - 1 : 2], mask[1::2]
    differ = reader.take(size // 2)
    first[differ] = reader.take(int(differ.sum()))
    second[differ] = ~first[differ]
    mask[size - size % 2 :] = reader.take(size % 2)
    alike = np.zeros(int((~differ).sum()), dtype=np.bool_)
    ones, odd = divmod(count - int(mask.sum()), 2)
    if odd:
        raise NeuronFileError(f"expected {count} neurons, found one more or fewer")
    alike[_decode(reader, len(alike), ones)] = True
    first[~differ] = second[~differ] = alike
    return np.flatnonzero(mask)
