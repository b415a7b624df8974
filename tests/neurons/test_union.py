"""The union of neurons joins what sets say, of however many there are, in whatever order."""

import itertools
import warnings
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cones.errors import BaseModelError, BaseModelWarning, ConesError, InputError, NeuronFileError
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.union import all_subjects, neuron_sets, union
from cones.search.interference import combine

SHAPES = {"k": (3, 4), "v": (2, 5)}
ROBOT, MUG, CAR = (
    SubjectInfo(*each) for each in (("sks", "robot"), ("zas", "mug"), ("uer", "car"))
)
VALUES = (0.0, -0.0, 0.5, 0.7, -0.5, 1e-40, 3e38)


def make(said: dict[int, float | None], **more: Any) -> ConceptNeurons:
    """Neurons of `k`: position -> the value, None for all where they are only shut."""
    index = np.array(sorted(said), dtype=np.int64)
    tuned = all(value is not None for value in said.values()) and bool(said)
    values = {"k": np.array([said[k] for k in sorted(said)], dtype=np.float32)} if tuned else None
    return ConceptNeurons(SHAPES, {"k": index}, values, **more)


@st.composite
def neurons(draw: st.DrawFn) -> ConceptNeurons:
    layers = draw(st.sampled_from([("k",), ("k", "v")]))
    sizes = {layer: SHAPES[layer] for layer in layers}
    index = {
        layer: np.array(sorted(draw(st.sets(st.integers(0, 4)))), dtype=np.int64) for layer in sizes
    }
    values = {
        layer: np.array([draw(st.sampled_from(VALUES)) for _ in each], dtype=np.float32)
        for layer, each in index.items()
    }
    return ConceptNeurons(
        sizes,
        index,
        values if draw(st.booleans()) else None,
        tuple(draw(st.sets(st.sampled_from([ROBOT, MUG])))),
        draw(st.sampled_from([0.5, 1.0, 2.0])),
        draw(st.sampled_from([BaseInfo(), BaseInfo("one", "1"), BaseInfo("two", "2")])),
        draw(st.sampled_from([{}, {"seed": "0"}, {"seed": "1", "cones": "0.1"}])),
    )


def outcome(build: Any) -> Any:
    """What comes of a union: the neurons and all of their info, or the refusal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BaseModelWarning)
            united = build()
    except ConesError:
        return "refused"
    return (*united._identity(), tuple(united.info.items()))


@settings(max_examples=50)
@given(st.lists(neurons(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_neither_order_nor_grouping_decides(sets: list[ConceptNeurons], random: Any) -> None:
    expected = outcome(lambda: union(sets))
    mixed = random.sample(sets, len(sets))
    assert outcome(lambda: union(mixed)) == expected
    assert outcome(lambda: union([*sets, *mixed])) == expected
    assert outcome(lambda: reduce(or_, mixed)) == expected
    cut = random.randint(0, len(sets))
    grouped = [part for part in (sets[:cut], sets[cut:]) if part]
    assert outcome(lambda: union(union(part) for part in grouped)) == expected


def test_a_value_is_more_than_shut_in_every_order() -> None:
    a, b, c = make({1: 0.5}), make({2: None}), make({2: 0.7})
    for first, second, third in itertools.permutations([a, b, c]):
        for united in ((first | second) | third, first | (second | third)):
            assert united == union([a, b, c])
    assert union([a, b, c]) == make({1: 0.5, 2: 0.7})
    assert (a | b) == make({1: 0.5, 2: 0.0})


def test_two_values_are_refused_in_every_order() -> None:
    sets = make({1: 0.5}), make({1: None, 2: None}), make({1: 0.25})
    for order in itertools.permutations(sets):
        with pytest.raises(InputError, match=r"^k: neuron 1 is tuned to two values; .*together$"):
            reduce(or_, order)


def test_zeros_keep_their_sign_only_where_all_agree() -> None:
    minus, plus = make({1: -0.0}), make({1: 0.0})
    assert minus | minus == minus != plus
    assert minus | plus == plus | minus == make({1: None}) | minus == plus


def test_files_are_read(tmp_path: Path) -> None:
    robot, mug = make({1: None}, subjects=(ROBOT,)), make({2: None}, subjects=(MUG,))
    robot.save(path := tmp_path / "robot.cones.safetensors")
    assert union([path, mug]) == union([str(path), mug]) == combine([path, mug]) == robot | mug
    assert union(path) == robot
    with pytest.raises(NeuronFileError, match="there is no such file"):
        union(tmp_path / "mug.cones.safetensors")


@pytest.mark.parametrize("wrong", [None, 5, [None], [["k"]], b"k", {"k": 1}.items()])
def test_what_is_no_neurons_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"^neurons: expected ConceptNeurons or the path of a"):
        neuron_sets(wrong)
    for join in ("__or__", "__and__", "__sub__", "overlap"):
        with pytest.raises(InputError, match=r"^neurons: expected ConceptNeurons"):
            getattr(make({1: None}), join)(wrong)


def test_no_set_is_refused() -> None:
    with pytest.raises(InputError, match=r"^neurons: expected at least one set, found none$"):
        union([])


def test_models_of_one_layout_are_named_in_one_warning() -> None:
    sets = [make({1: None}, base=BaseInfo(name, name[0])) for name in ("one", "two", "one")]
    with pytest.warns(BaseModelWarning, match=r"one and two; find them in one") as caught:
        united = union(sets)
    assert [each.filename for each in caught] == [__file__]
    assert united.base == BaseInfo("two", "t")


def test_models_of_other_layouts_are_refused_in_every_order() -> None:
    other = ConceptNeurons({"k": (4, 3)}, {})
    for order in itertools.permutations([make({1: None}), make({2: 1.0}), other]):
        with pytest.raises(BaseModelError, match=r"^k: the neurons are of different base models"):
            union(order)


def test_a_subject_found_twice_is_refused_and_one_file_given_twice_is_one() -> None:
    robot, other = make({1: None}, subjects=(ROBOT,)), make({2: None}, subjects=(ROBOT,))
    assert all_subjects([robot, robot]) == (ROBOT,)
    assert combine([robot, robot]) == robot
    for pair in ([robot, other], [other, robot]):
        with pytest.raises(InputError, match=r"token 'sks': stands for two subjects"):
            combine(pair)
    assert all_subjects([make({}, subjects=(MUG,)), make({1: None}, subjects=(CAR, ROBOT))]) == (
        MUG, ROBOT, CAR
    )  # fmt: skip
