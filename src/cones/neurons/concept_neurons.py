"""Concept neurons: which weights of a base model to shut, and for which subjects."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from cones.checks import check_number
from cones.errors import BaseModelError, InputError
from cones.neurons.codec import Indices
from cones.neurons.overlap_count import OverlapCount
from cones.neurons.quaternary import Values
from cones.neurons.tokens import check_distinct_tokens
from cones.neurons.validation import (
    checked_indices,
    checked_info,
    checked_shape,
    checked_texts,
    checked_values,
)

MAX_STRENGTH = 2.0


@dataclass(frozen=True, order=True)
class SubjectInfo:
    """What a prompt calls a subject.

    Attributes:
        token: the rare word that stands for it, the paper's V*.
        class_noun: what kind of thing it is.
        prompt: a prompt that names it, as it was found with.
    """

    token: str
    class_noun: str
    prompt: str = ""

    def __post_init__(self) -> None:
        checked_texts("subject", self.token, self.class_noun, self.prompt)

    @property
    def phrase(self) -> str:
        """How prompts name it: "sks robot"."""
        return f"{self.token} {self.class_noun}"


@dataclass(frozen=True)
class BaseInfo:
    """The base model that neurons were found in; empty where it is not known.

    Attributes:
        name: what to call it.
        fingerprint: `cones.neurons.projections.fingerprint` of the text's projections.
    """

    name: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        checked_texts("base model", self.name, self.fingerprint)


@dataclass(frozen=True, eq=False)
class ConceptNeurons:
    """The concept neurons of one or several subjects: the paper's binary mask M, by its zeros.

    Attributes:
        shapes: layer -> shape (out, in) of its weight, for every layer that could be chosen from,
            by name.
        indices: layer -> flat row-major positions of the neurons in that weight, int64, strictly
            increasing, read-only. A layer left out has none.
        values: layer -> the tuned value of each neuron, float32, in the order of `indices`; None
            where the neurons are only shut.
        subjects: the subjects, by token.
        strength: how strongly to shut by default, in [0, 2]: 1 sets to zero, 2 flips the sign.
        base: the base model.
        info: where they come from (algorithm, configuration, seed, versions); not compared.

    Raises:
        InputError: an index or a value that cannot be, a token of two subjects, a strength out of
            range.
    """

    shapes: Mapping[str, tuple[int, int]]
    indices: Mapping[str, Indices]
    values: Mapping[str, Values] | None = None
    subjects: tuple[SubjectInfo, ...] = ()
    strength: float = 1.0
    base: BaseInfo = BaseInfo()
    info: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_texts("a layer's name", *self.shapes)
        shapes = {layer: checked_shape(layer, self.shapes[layer]) for layer in sorted(self.shapes)}
        if not shapes:
            raise InputError("expected at least one layer, found none; give the shape of each")
        if "" in shapes:
            raise InputError("expected a name for each layer, found an empty one; name it")
        for layer in {*self.indices, *(self.values or {})} - shapes.keys():
            raise InputError(f"{layer}: has neurons but no shape; give the shape of each layer")
        none = np.zeros(0, dtype=np.int64)
        indices = {
            layer: checked_indices(layer, self.indices.get(layer, none), prod(shape))
            for layer, shape in shapes.items()
        }
        vars(self).update(  # the way round `frozen`
            shapes=shapes,
            indices=indices,
            values=None if self.values is None else checked_values(self.values, indices),
            subjects=sorted_subjects(self.subjects),
            strength=check_strength(self.strength),
            info=checked_info(self.info),
        )

    def __len__(self) -> int:
        """The number of neurons."""
        return sum(len(index) for index in self.indices.values())

    @property
    def size(self) -> int:
        """The number of weights that could be chosen from, the paper's N."""
        return sum(prod(shape) for shape in self.shapes.values())

    @property
    def density(self) -> float:
        """The neurons' share of these weights, in [0, 1]."""
        return len(self) / self.size

    def per_layer_density(self) -> dict[str, float]:
        """The neurons' share of each layer's weights, in [0, 1]."""
        return {layer: len(self.indices[layer]) / prod(self.shapes[layer]) for layer in self.shapes}

    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Layer -> bool [out, in], true where the weight is a concept neuron."""
        dense = {layer: np.zeros(shape, dtype=np.bool_) for layer, shape in self.shapes.items()}
        for layer, mask in dense.items():
            mask.flat[self.indices[layer]] = True
        return dense

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a neuron file; see `cones.neurons.neuronfile`."""
        from cones.neurons.neuronfile import save

        save(self, path)

    def __eq__(self, other: object) -> bool:
        """Whether all but `info` is the same."""
        if not isinstance(other, ConceptNeurons):
            return NotImplemented
        return self._identity() == other._identity()

    def __or__(self, other: "ConceptNeurons") -> "ConceptNeurons":
        """Neurons in either, for all the subjects of both; see `cones.neurons.union.union`."""
        from cones.neurons.union import union

        return union([self, other])

    def __and__(self, other: "ConceptNeurons") -> "ConceptNeurons":
        """Neurons in both; the rest as for the union."""
        from cones.neurons.union import joined

        return joined([self, other], np.intersect1d)

    def __sub__(self, other: "ConceptNeurons") -> "ConceptNeurons":
        """Neurons of the first that are not in the second; the rest is the first's."""
        _, other = aligned(self, other)
        keep = {
            layer: ~np.isin(index, other.indices[layer], assume_unique=True)
            for layer, index in self.indices.items()
        }
        indices = {layer: index[keep[layer]] for layer, index in self.indices.items()}
        values = self.values and {layer: v[keep[layer]] for layer, v in self.values.items()}
        return replace(self, indices=indices, values=values)

    def overlap(self, other: "ConceptNeurons") -> OverlapCount:
        """How many neurons two sets share, and how many chance would let them share."""
        first, second = aligned(self, other)
        return OverlapCount.total(
            OverlapCount.of(first.indices[layer], second.indices[layer], prod(shape))
            for layer, shape in first.shapes.items()
        )

    def _identity(self) -> tuple[object, ...]:
        values = self.values and _bytes(self.values)
        return self.shapes, _bytes(self.indices), values, self.subjects, self.strength, self.base


def check_strength(strength: object) -> float:
    """How strongly to shut, from nothing to a flip of the sign; InputError for other numbers."""
    return check_number("strength", strength, least=0, most=MAX_STRENGTH) + 0.0  # -0.0 is 0.0


def sorted_subjects(given: Iterable[SubjectInfo]) -> tuple[SubjectInfo, ...]:
    """Subjects by token, each with its own.

    Raises:
        InputError: a token of two subjects, in one spelling or two.
    """
    subjects = tuple(sorted(given))
    check_distinct_tokens(subjects)
    return subjects


def aligned(*sets: ConceptNeurons) -> list[ConceptNeurons]:
    """The sets over the layers of all: some may be of a part of another's, such as the text's.

    Raises:
        InputError: something is no set of neurons.
        BaseModelError: the sets are of differently shaped models.
    """
    for each in sets:
        if not isinstance(each, ConceptNeurons):
            raise InputError(f"neurons: expected ConceptNeurons, found a {type(each).__name__}")
    most = max((each.shapes for each in sets), key=lambda shapes: (len(shapes), sorted(shapes)))
    for each in sets:
        for layer, shape in each.shapes.items():
            if most.get(layer) != shape:
                raise BaseModelError(
                    f"{layer}: the neurons are of different base models: one has the shape "
                    f"{shape}, the other {most.get(layer, 'none')}; find both in one model"
                )
    return [_over(most, each) for each in sets]


def _over(shapes: Mapping[str, tuple[int, int]], neurons: ConceptNeurons) -> ConceptNeurons:
    return neurons if neurons.shapes == shapes else replace(neurons, shapes=shapes)


def _bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, bytes]:
    return {layer: array.tobytes() for layer, array in arrays.items()}
