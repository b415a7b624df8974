"""What sets of neurons have in common, against chance: how well subjects are disentangled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any

from cones.errors import InputError
from cones.neurons.concept_neurons import ConceptNeurons, aligned
from cones.neurons.overlap_count import OverlapCount


@dataclass(frozen=True)
class PairOverlap(OverlapCount):
    """What two sets of neurons have in common.

    Attributes:
        first: what to call the one set.
        second: what to call the other.
        layers: layer -> the same for this layer.
    """

    first: str
    second: str
    layers: Mapping[str, OverlapCount]

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON types."""
        layers = {layer: shared.as_dict() for layer, shared in self.layers.items()}
        names = {"first": self.first, "second": self.second}
        return {**names, **super().as_dict(), "layers": layers}


@dataclass(frozen=True)
class JointOverlap:
    """How the union of single subjects' neurons resembles those found from their joint loss.

    Attributes:
        pair: the union and the joint search's neurons.
        of_joint: the share of the joint search's neurons that are in the union.
        of_joint_expected: that share by chance.
        of_union: the share of the union's neurons that are the joint search's too.
        of_union_expected: that share by chance.
    """

    pair: PairOverlap
    of_joint: float
    of_joint_expected: float
    of_union: float
    of_union_expected: float

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON types."""
        return {**vars(self), "pair": self.pair.as_dict()}


def pairwise(
    sets: Sequence[ConceptNeurons], names: Sequence[str] | None = None
) -> list[PairOverlap]:
    """What each two of several sets have in common.

    Args:
        sets: found in one base model; of one or several subjects each.
        names: what to call each; None for the words of its subjects: "sks robot".

    Returns:
        The first set with the second, with the third, ..., then the second with the third, ...;
        nothing for less than two sets.

    Raises:
        InputError: not as many names as sets.
        BaseModelError: the sets are of differently shaped models.
    """
    names = [words(neurons) for neurons in sets] if names is None else names
    if len(names) != len(sets):
        raise InputError(f"names: expected one for each of {len(sets)} sets, found {len(names)}")
    named = zip(names, sets, strict=True)
    return [_pair(first, a, second, b) for (first, a), (second, b) in combinations(named, 2)]


def compared_with_joint(union: ConceptNeurons, joint: ConceptNeurons) -> JointOverlap:
    """How much of the neurons of a joint search the union of single searches has, and vice versa.

    Args:
        union: of the neurons that were found for each subject alone.
        joint: neurons that were found from the losses of all the subjects together.

    Raises:
        InputError: a set is empty.
        BaseModelError: the sets are of differently shaped models.
    """
    for name, neurons in (("union", union), ("joint", joint)):
        if not len(neurons):
            raise InputError(f"{name}: expected neurons to compare, found none; find some first")
    pair = _pair("union", union, "joint", joint)
    return JointOverlap(
        pair,
        of_joint=pair.shared / len(joint),
        of_joint_expected=pair.expected / len(joint),
        of_union=pair.shared / len(union),
        of_union_expected=pair.expected / len(union),
    )


def grouped(pairs: Sequence[PairOverlap]) -> dict[str, OverlapCount]:
    """All pairs together, by groups of layers: "down_blocks.0", "mid_block", ...

    The deviation takes the pairs for independent, which those with a set in common nearly are.
    """
    found: dict[str, list[OverlapCount]] = {}
    for pair in pairs:
        for layer, shared in pair.layers.items():
            found.setdefault(_group(layer), []).append(shared)
    return {group: OverlapCount.total(parts) for group, parts in found.items()}


def words(neurons: ConceptNeurons) -> str:
    """What to call neurons by their subjects: "sks robot and ohwx mug"; else "neurons"."""
    named = [subject.phrase for subject in neurons.subjects]
    return " and ".join(named) or "neurons"


def _pair(first: str, a: ConceptNeurons, second: str, b: ConceptNeurons) -> PairOverlap:
    a, b = aligned(a, b)
    layers = {
        layer: OverlapCount.of(a.indices[layer], b.indices[layer], prod(shape))
        for layer, shape in a.shapes.items()
    }
    total = OverlapCount.total(layers.values())
    return PairOverlap(**vars(total), first=first, second=second, layers=layers)


def _group(layer: str) -> str:
    """The part of the network that a layer is in: its first name, with its number if it has one."""
    first, _, rest = layer.partition(".")
    number = rest.partition(".")[0]
    return f"{first}.{number}" if number.isdigit() else first
