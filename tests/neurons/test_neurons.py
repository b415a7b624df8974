"""Concept neurons are sets with a strict constructor; their algebra is that of sets."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones.errors import BaseModelError, BaseModelWarning, InputError
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.union import strength_warning

SHAPES = {"k": (3, 4), "v": (2, 5)}
ROBOT, MUG = SubjectInfo("sks", "robot", "a sks robot"), SubjectInfo("zas", "mug", "a zas mug")


def make(k: Any = (), v: Any = (), **more: Any) -> ConceptNeurons:
    as_index = {"k": np.array(k, dtype=np.int64), "v": np.array(v, dtype=np.int64)}
    return ConceptNeurons(SHAPES, as_index, **more)


@st.composite
def neurons(draw: st.DrawFn) -> ConceptNeurons:
    index = {
        layer: np.array(sorted(draw(st.sets(st.integers(0, out * into - 1)))), dtype=np.int64)
        for layer, (out, into) in SHAPES.items()
    }
    return ConceptNeurons(
        SHAPES,
        index,
        subjects=tuple(draw(st.sets(st.sampled_from([ROBOT, MUG])))),
        strength=draw(st.sampled_from([0.5, 1.0, 2.0])),
        base=draw(st.sampled_from([BaseInfo(), BaseInfo("toybox", "12ab")])),
        info=draw(st.sampled_from([{}, {"seed": "0"}, {"seed": "1", "cones": "0.1"}])),
    )


def flat(neurons: ConceptNeurons) -> set[tuple[str, int]]:
    return {(layer, int(i)) for layer, index in neurons.indices.items() for i in index}


@given(neurons(), neurons(), neurons())
def test_they_are_sets(a: ConceptNeurons, b: ConceptNeurons, c: ConceptNeurons) -> None:
    assert flat(a | b) == flat(a) | flat(b)
    assert flat(a & b) == flat(a) & flat(b)
    assert flat(a - b) == flat(a) - flat(b)
    assert a | b == b | a and (a | b).info == (b | a).info
    assert a & b == b & a
    assert (a | b) | c == a | (b | c) and ((a | b) | c).info == (a | (b | c)).info
    assert a | a == a & a == a
    assert len(a | b) + len(a & b) == len(a) + len(b)
    assert set((a | b).subjects) == {*a.subjects, *b.subjects}
    assert (a | b).strength == max(a.strength, b.strength)


@given(neurons(), neurons())
def test_overlap_counts(a: ConceptNeurons, b: ConceptNeurons) -> None:
    overlap = a.overlap(b)
    assert overlap == b.overlap(a)
    assert overlap.shared == len(a & b)
    assert overlap.jaccard == (len(a & b) / len(a | b) if len(a | b) else 0)


def test_overlap_by_chance() -> None:
    overlap = make([0, 1, 2], [0]).overlap(make([2, 3], [1]))
    assert (overlap.shared, overlap.either, overlap.jaccard) == (1, 6, 1 / 6)
    assert overlap.expected == 3 * 2 / 12 + 1 / 10


@given(neurons())
def test_masks_say_the_same(a: ConceptNeurons) -> None:
    for layer, mask in a.masks().items():
        assert mask.shape == SHAPES[layer]
        assert np.array_equal(np.flatnonzero(mask), a.indices[layer])


def test_counts() -> None:
    a = make([0, 11], [3])
    assert (len(a), a.size, a.density) == (3, 22, 3 / 22)
    assert a.per_layer_density() == {"k": 2 / 12, "v": 1 / 10}


def test_a_layer_without_neurons_may_be_left_out_and_order_does_not_matter() -> None:
    index = np.array([1, 2])
    a = ConceptNeurons({"v": (2, 5), "k": (3, 4)}, {"v": index.astype(np.int32)})
    assert a == make(v=[1, 2])
    assert list(a.shapes) == list(a.indices) == ["k", "v"]
    assert a.indices["v"].dtype == a.indices["k"].dtype == np.int64
    index[0] = 0
    assert a == make(v=[1, 2])


@pytest.mark.parametrize(
    "other",
    [
        make([1]),
        make([0], values={"k": np.zeros(1)}),
        make([0], subjects=(ROBOT,)),
        make([0], strength=2),
        make([0], base=BaseInfo("x")),
        ConceptNeurons({"k": (3, 4), "v": (5, 2)}, {"k": np.array([0])}),
        "k",
    ],
)
def test_they_differ(other: object) -> None:
    assert make([0]) != other
    assert make([0]) == make([0], info={"seed": "1"})


def test_they_are_read_only() -> None:
    a = make([1, 2], values={"k": np.array([1.0, 2.0])})
    assert a.values is not None
    for array in (a.indices["k"], a.values["k"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        a.strength = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: make([0, 12]), r"k: expected indices from 0 to 11, found 12"),
        (lambda: make([-1, 0]), r"k: expected indices from 0 to 11, found -1"),
        (lambda: make([], [5, 3]), r"v: .*in order, found 5 before 3; take numpy.unique$"),
        (lambda: make([], [3, 3]), r"v: .*unique .*found 3 before 3; take numpy.unique$"),
        (lambda: ConceptNeurons(SHAPES, {"k": np.array([1.0])}), r"k: .*integers, found float64"),
        (lambda: ConceptNeurons(SHAPES, {"k": np.ones((3, 4), bool)}), r"bool .*numpy.flatnonzero"),
        (lambda: ConceptNeurons(SHAPES, {"q": np.array([1])}), r"q: has neurons but no shape"),
        (lambda: ConceptNeurons({}, {}), r"expected at least one layer, found none"),
        (lambda: ConceptNeurons({"k": (3, 0)}, {}), r"k: expected the shape .*found \(3, 0\)"),
        (lambda: make(strength=2.5), r"strength: expected 0 to 2, found 2.5"),
        (lambda: make(strength=float("nan")), r"strength: expected 0 to 2, found nan"),
        (lambda: make([1], values={}), r"k: expected a value for each of 1 neurons, found \[0\]"),
        (lambda: make([1], values={"k": np.array([np.inf])}), r"k: expected finite values"),
        (lambda: make([1], values={"q": np.zeros(1)}), r"q: has neurons but no shape"),
        (
            lambda: make(subjects=(ROBOT, SubjectInfo("sks", "mug"))),
            r"token 'sks': .*\(mug, robot\); find one of them again with another --token",
        ),
    ],
)
def test_it_refuses(build: Callable[[], ConceptNeurons], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shapes", [{"k": (4, 3), "v": (2, 5)}, {"k": (3, 4), "w": (2, 5)}])
@pytest.mark.parametrize("join", ["__or__", "__and__", "__sub__", "overlap"])
def test_other_shapes_are_refused(shapes: dict[str, tuple[int, int]], join: str) -> None:
    with pytest.raises(BaseModelError, match=r"^[kv]: .*find both in one model$"):
        getattr(make(), join)(ConceptNeurons(shapes, {}))


def test_one_set_may_be_of_a_part_of_the_layers() -> None:
    wide = make([0, 5], [3], subjects=(MUG,))
    narrow = ConceptNeurons(
        {"k": wide.shapes["k"]}, {"k": np.array([5, 7])}, {"k": np.ones(2, np.float32)}, (ROBOT,)
    )
    for union in (wide | narrow, narrow | wide):
        assert union.shapes == wide.shapes
        assert [index.tolist() for index in union.indices.values()] == [[0, 5, 7], [3]]
        assert union.values is not None and union.values["k"].tolist() == [0, 1, 1]
    assert [index.tolist() for index in (narrow & wide).indices.values()] == [[5], []]
    assert (narrow - wide).shapes == narrow.shapes and len(narrow - wide) == 1
    assert len(wide - narrow) == 2
    assert narrow.overlap(wide) == wide.overlap(narrow)
    assert narrow.overlap(wide).shared == 1


def test_one_token_for_two_subjects_is_refused() -> None:
    with pytest.raises(InputError, match="another --token"):
        make(subjects=(ROBOT,)) | make(subjects=(SubjectInfo("sks", "dog"),))


def test_a_fine_tune_is_a_warning() -> None:
    a, b = make(base=BaseInfo("one", "1")), make(base=BaseInfo("two", "2"))
    with pytest.warns(BaseModelWarning, match=r"one and two") as caught:
        joined = a | b
    assert caught[0].filename == __file__
    assert joined.base == b.base
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (make() | a).base == a.base


def test_values_are_joined() -> None:
    tuned = make([1, 4], values={"k": np.array([0.5, -1.0])})
    shut = make([1, 7])
    joined = tuned | shut
    assert joined == shut | tuned
    assert joined.values is not None
    assert joined.values["k"].tolist() == [0.5, -1.0, 0.0]
    assert tuned | tuned == tuned & tuned == tuned
    both = tuned & shut
    assert both.values is not None and both.values["k"].tolist() == [0.5]
    rest = tuned - shut
    assert rest.values is not None and rest.values["k"].tolist() == [-1.0]
    assert (shut - tuned).values is None


def test_tuned_values_are_kept_whatever_strength_is_asked_for_beside_them() -> None:
    tuned = make([1, 4], values={"k": np.array([0.5, -1.0])}, subjects=(MUG,))
    shut = make([1, 7], strength=1.5, subjects=(ROBOT,))
    assert (tuned | shut).strength == (shut | tuned).strength == tuned.strength == 1
    assert (shut | make([2])).strength == 1.5
    assert strength_warning([shut, make([2])]) is strength_warning([tuned]) is None
    assert (strength_warning([tuned, shut]) or "").startswith(
        "'sks robot': shut at strength 1, less than"
    )


def test_values_that_disagree_are_refused() -> None:
    a = make([1, 4], values={"k": np.array([0.5, -1.0])})
    b = make([4, 5], values={"k": np.array([2.0, 3.0])})
    with pytest.raises(InputError, match=r"k: neuron 4 is tuned to two values; .*together"):
        a | b
    assert len(a | replace(b, values={"k": np.array([-1.0, 3.0])})) == 3
