"""What sets of positions have in common, against chance."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cones.neurons.codec import Indices


@dataclass(frozen=True)
class OverlapCount:
    """What two sets have in common, against sets of their sizes drawn at random in each layer.

    Attributes:
        shared: the number of neurons in both.
        either: the number of neurons in either.
        expected: the mean of `shared` by chance; it is hypergeometric in each layer.
        deviation: its standard deviation by chance.
    """

    shared: int
    either: int
    expected: float
    deviation: float

    @property
    def ratio(self) -> float | None:
        """Shared over expected; None where not even one is expected, so that one says nothing."""
        return self.shared / self.expected if self.expected >= 1 else None

    @property
    def z(self) -> float | None:
        """By how many deviations more are shared than expected; None where `ratio` is.

        None too where nothing can vary.
        """
        known = self.ratio is not None and self.deviation
        return (self.shared - self.expected) / self.deviation if known else None

    @property
    def jaccard(self) -> float:
        """Shared neurons over neurons in either; 0 if there are none."""
        return self.shared / max(self.either, 1)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON types."""
        names = ("shared", "expected", "deviation", "ratio", "z", "jaccard")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of(cls, a: Indices, b: Indices, size: int) -> "OverlapCount":
        """Counts in one layer.

        Args:
            a: positions of the first set's neurons, int64 `[count]`, strictly increasing.
            b: those of the second's, likewise.
            size: the number of the layer's weights.
        """
        shared = len(np.intersect1d(a, b, assume_unique=True))
        expected = len(a) * len(b) / size
        variance = expected * ((size - len(a)) * (size - len(b))) / (size * max(size - 1, 1))
        return cls(shared, len(a) + len(b) - shared, expected, math.sqrt(variance))

    @classmethod
    def total(cls, parts: "Iterable[OverlapCount]") -> "OverlapCount":
        """Independent parts, such as layers, together."""
        rows = [(each.shared, each.either, each.expected, each.deviation) for each in parts]
        shared, either, expected, deviations = zip(*rows, strict=True)
        return cls(sum(shared), sum(either), sum(expected), math.hypot(*deviations))
