"""The union of sets of neurons: of any number of them, shut or tuned; their order never decides.

Of each neuron a set says nothing, that it is shut, or the value that it was tuned to. A union joins
what its sets say: shut is more than nothing, a value is more than shut, and two values are refused.
To be shut is to have the value 0, so a value of 0 gives way to any other. This depends on what the
sets say, not on their order: unions are associative, commutative and idempotent, and values that
one order refuses all orders refuse.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Protocol, TypeAlias, TypeVar

import numpy as np

from cones.errors import BaseModelWarning, InputError, warn
from cones.neurons.codec import Indices
from cones.neurons.concept_neurons import (
    BaseInfo,
    ConceptNeurons,
    SubjectInfo,
    aligned,
)
from cones.neurons.neuronfile import load
from cones.neurons.quaternary import Values
from cones.neurons.tokens import check_distinct_tokens

Neurons: TypeAlias = ConceptNeurons | str | os.PathLike[str]


Part = TypeVar("Part")


class Named(Protocol):
    """What has subjects: neurons, or another method's artifact."""

    @property
    def subjects(self) -> tuple[SubjectInfo, ...]: ...  # noqa: D102


def neuron_sets(neurons: Neurons | Iterable[Neurons]) -> list[ConceptNeurons]:
    """One set of neurons or several, as a list; those given by the path of their file are read.

    Raises:
        InputError: something is neither neurons nor a path.
        NeuronFileError: a file cannot be read.
    """
    if isinstance(neurons, ConceptNeurons | str | os.PathLike):
        return [_loaded(neurons)]
    if isinstance(neurons, Iterable):
        return [_loaded(each) for each in neurons]
    raise _no_neurons(neurons)


def distinct_sets(neurons: Iterable[Neurons]) -> list[ConceptNeurons]:
    """As `neuron_sets`, for what is to be united and therefore needs each set once.

    Raises:
        InputError: the same neurons are given twice, also in two files.
    """
    sets = neuron_sets(neurons)
    if remark := repeated(sets):
        raise InputError(f"{remark}; name each file once")
    return sets


def union(neurons: Neurons | Iterable[Neurons]) -> ConceptNeurons:
    """Neurons in any of the sets: the paper's concatenation, for all the subjects of all.

    The strength is their `common_strength`; of `info` stays what all agree on. Some sets may be of
    a part of the layers, such as the text's, if another is of all of them.

    Args:
        neurons: one set or several, each as it is or by the path of its file.

    Raises:
        InputError: no set, a token of two subjects, or a neuron tuned to two values.
        BaseModelError: the sets are of differently shaped models.
        NeuronFileError: a file cannot be read.

    Warns:
        BaseModelWarning: they are of models of one layout with different weights.
    """
    sets = neuron_sets(neurons)
    if not sets:
        raise InputError("neurons: expected at least one set, found none")
    return sets[0] if len(sets) == 1 else joined(sets, np.union1d)


def joined(
    sets: Sequence[ConceptNeurons], join: Callable[[Indices, Indices], Indices]
) -> ConceptNeurons:
    """The neurons that `join` leaves of those of all sets, with all that the sets say of them.

    Raises:
        InputError: a token of two subjects, or a neuron tuned to two values.
        BaseModelError: the sets are of differently shaped models.
    """
    sets = aligned(*sets)
    shapes = sets[0].shapes
    indices = {layer: reduce(join, (each.indices[layer] for each in sets)) for layer in shapes}
    tuned = any(each.values is not None for each in sets)
    return ConceptNeurons(
        shapes,
        indices,
        {layer: _values(layer, indices[layer], sets) for layer in shapes} if tuned else None,
        tuple({subject for each in sets for subject in each.subjects}),
        common_strength(sets),
        _base(sets),
        dict(set.intersection(*({*each.info.items()} for each in sets))),
    )


def all_subjects(parts: Iterable[Named]) -> tuple[SubjectInfo, ...]:
    """The subjects of several neurons or other artifacts, in the order given; each part once.

    Raises:
        InputError: a token of two subjects, or one that two different searches have found.
    """
    subjects = tuple(subject for each in different(parts) for subject in each.subjects)
    check_distinct_tokens(subjects)
    return subjects


def different(parts: Iterable[Part]) -> list[Part]:
    """Each of several neurons or artifacts once."""
    found: list[Part] = []
    for each in parts:
        if each not in found:
            found.append(each)
    return found


def common_strength(sets: Sequence[ConceptNeurons]) -> float:
    """The strength of a union: the greatest, so that none is shut less than its file asks for.

    Of tuned sets if there are any: another strength than theirs would change their values.
    """
    return max(each.strength for each in [s for s in sets if s.values is not None] or sets)


def strength_warning(sets: Sequence[ConceptNeurons]) -> str | None:
    """What to say where sets are shut less in their union than their own files ask for."""
    strength = common_strength(sets)
    weaker = [each for each in sets if each.strength > strength]
    if not weaker:
        return None
    phrases = " and ".join(f"'{subject.phrase}'" for each in weaker for subject in each.subjects)
    return (
        f"{phrases}: shut at strength {strength:g}, less than found best, since it is united with "
        "tuned values; unite the files as they were before tuning, and tune them together"
    )


def repeated(sets: Sequence[ConceptNeurons]) -> str | None:
    """What to say where one of several sets is given again."""
    again = [each for number, each in enumerate(sets) if each in sets[:number]]
    if not again:
        return None
    phrases = " and ".join(f"'{subject.phrase}'" for subject in all_subjects(again))
    return f"the neurons of {phrases or 'no named subject'} are given twice, where once is enough"


def _loaded(neurons: object) -> ConceptNeurons:
    if isinstance(neurons, str | os.PathLike):
        return load(neurons)
    if isinstance(neurons, ConceptNeurons):
        return neurons
    raise _no_neurons(neurons)


def _no_neurons(found: object) -> InputError:
    return InputError(
        f"neurons: expected ConceptNeurons or the path of a neuron file, found a "
        f"{type(found).__name__}; find some (cones.find), or load a file (cones.load)"
    )


def _values(layer: str, index: Indices, sets: Sequence[ConceptNeurons]) -> Values:
    """The value of each neuron in `index`: the one that is not 0, if a set has one.

    Raises:
        InputError: two sets have different ones.
    """
    found = np.full(len(index), -0.0, dtype=np.float32)  # to which any value can be added exactly
    for each in sets:
        held, at, source = np.intersect1d(
            index, each.indices[layer], assume_unique=True, return_indices=True
        )
        said = np.zeros(len(at), np.float32) if each.values is None else each.values[layer][source]
        known = found[at]
        clash = (known != said) & (known != 0) & (said != 0)
        if clash.any():
            raise InputError(
                f"{layer}: neuron {held[clash][0]} is tuned to two values; unite the sets as they "
                "were before tuning, and tune them together"
            )
        found[at] = np.add(known, said, out=known, where=known == 0)
    return found


def _base(sets: Sequence[ConceptNeurons]) -> BaseInfo:
    bases = sorted({each.base for each in sets}, key=lambda base: (base.fingerprint, base.name))
    known = {base.fingerprint: base.name or base.fingerprint for base in bases if base.fingerprint}
    if len(known) > 1:
        warn(
            f"the neurons were found in {len(known)} models of one layout, "
            f"{' and '.join(known.values())}; find them in one if a subject is lost",
            BaseModelWarning,
        )
    return bases[-1]
