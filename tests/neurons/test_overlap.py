"""What sets of neurons have in common: exact counts against chance, as numbers and as a command."""

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner, Result

from cones.cli.program import app
from cones.errors import BaseModelError, InputError
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.overlap import compared_with_joint, grouped, pairwise

KEY, VALUE = "down_blocks.0.attn2.to_k", "mid_block.attn2.to_v"
SHAPES = {KEY: (3, 4), VALUE: (2, 5)}
LARGE = {KEY: (40, 50), "down_blocks.0.attn2.to_v": (40, 50), VALUE: (30, 20)}
ROBOT, MUG = SubjectInfo("sks", "robot"), SubjectInfo("zas", "mug")


def make(key: Any = (), value: Any = (), *subjects: SubjectInfo) -> ConceptNeurons:
    given = {KEY: key, VALUE: value}
    index = {layer: np.array(sorted(some), dtype=np.int64) for layer, some in given.items()}
    return ConceptNeurons(SHAPES, index, subjects=subjects)


def drawn(rng: np.random.Generator, density: float = 0.05) -> ConceptNeurons:
    sizes = {layer: out * into for layer, (out, into) in LARGE.items()}
    index = {
        layer: np.sort(rng.choice(size, int(size * density), replace=False))
        for layer, size in sizes.items()
    }
    return ConceptNeurons(LARGE, index)


subsets = st.builds(make, st.sets(st.integers(0, 11)), st.sets(st.integers(0, 9)))


@given(subsets, subsets)
def test_counts_are_those_of_sets(a: ConceptNeurons, b: ConceptNeurons) -> None:
    (pair,) = pairwise([a, b])
    assert (pair.shared, pair.either) == (len(a & b), len(a | b))
    assert {**pair.as_dict(), **a.overlap(b).as_dict()} == pair.as_dict()
    for layer in SHAPES:
        mine, others = set(a.indices[layer]), set(b.indices[layer])
        assert pair.layers[layer].shared == len(mine & others)
        assert pair.layers[layer].either == len(mine | others)


@pytest.mark.parametrize(("size", "of_a", "of_b"), [(12, 3, 5), (12, 12, 4), (12, 1, 1)])
def test_chance_is_that_of_all_draws(size: int, of_a: int, of_b: int) -> None:
    a = range(of_a)
    counts = [len({*a} & {*b}) for b in combinations(range(size), of_b)]
    (pair,) = pairwise([make(a), make(range(of_b))])
    assert pair.expected == pytest.approx(np.mean(counts))
    assert pair.deviation == pytest.approx(np.std(counts), abs=1e-9)
    if np.mean(counts) < 1:  # one neuron more or less would make any ratio
        assert pair.ratio is pair.z is None
        return
    assert pair.ratio == pytest.approx(pair.shared / np.mean(counts))
    if np.std(counts):
        assert pair.z == pytest.approx((pair.shared - np.mean(counts)) / np.std(counts))
    else:
        assert pair.z is None


def test_random_sets_share_what_chance_lets_them() -> None:
    rng = np.random.default_rng(0)
    scores = [pairwise([drawn(rng), drawn(rng)])[0].z or 0.0 for _ in range(400)]
    assert abs(np.mean(scores)) < 4 / math.sqrt(400)
    assert np.std(scores) == pytest.approx(1, abs=0.12)


def test_layers_add_up() -> None:
    rng = np.random.default_rng(1)
    pairs = pairwise([drawn(rng) for _ in range(3)])
    for pair in pairs:
        parts = list(pair.layers.values())
        assert pair.shared == sum(part.shared for part in parts)
        assert pair.deviation**2 == pytest.approx(sum(part.deviation**2 for part in parts))
    groups = grouped(pairs)
    assert list(groups) == ["down_blocks.0", "mid_block"]
    assert sum(group.shared for group in groups.values()) == sum(pair.shared for pair in pairs)
    assert groups["mid_block"].expected == pytest.approx(3 * 30 * 30 / 600)


def test_every_pair_is_named_by_its_subjects() -> None:
    sets = [make([1], [], ROBOT), make([2], [], MUG), make([1, 2], [], MUG, ROBOT), make()]
    pairs = pairwise(sets)
    assert [(pair.first, pair.second) for pair in pairs][:4] == [
        ("sks robot", "zas mug"),
        ("sks robot", "sks robot and zas mug"),
        ("sks robot", "neurons"),
        ("zas mug", "sks robot and zas mug"),
    ]
    assert [pair.shared for pair in pairs] == [0, 1, 0, 1, 0, 0]
    assert pairs[2].ratio is None and pairs[2].z is None and pairs[2].jaccard == 0
    assert pairwise(sets[:2], ["a", "b"])[0].first == "a"
    json.dumps([pair.as_dict() for pair in pairs])
    with pytest.raises(InputError, match="names: expected one for each of 4 sets, found 1"):
        pairwise(sets, ["a"])


def test_the_union_is_compared_with_the_joint_search() -> None:
    union, joint = make([0, 1, 2, 3], [0]), make([2, 3, 4], [0, 1])
    found = compared_with_joint(union, joint)
    chance = 4 * 3 / 12 + 1 * 2 / 10
    assert (found.of_joint, found.of_union) == (3 / 5, 3 / 5)
    assert found.of_joint_expected == found.of_union_expected == pytest.approx(chance / 5)
    assert compared_with_joint(union, make([0])).of_joint == 1
    assert compared_with_joint(union, make([0])).of_union == 1 / 5
    with pytest.raises(InputError, match="joint: expected neurons to compare, found none"):
        compared_with_joint(union, make())


@pytest.mark.parametrize("compare", [lambda a, b: pairwise([a, b]), compared_with_joint])
def test_other_base_models_are_refused(compare: Any) -> None:
    other = ConceptNeurons({KEY: (3, 5)}, {KEY: np.array([0])})
    with pytest.raises(BaseModelError, match="the neurons are of different base models"):
        compare(make([1]), other)


# -- the command -----------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in ("overlap", *arguments)])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    paths = tmp_path / "robot.cones.safetensors", tmp_path / "mug", tmp_path / "joint"
    make(range(4), range(3), ROBOT).save(paths[0])
    make(range(2, 6), [2], MUG).save(paths[1])
    make([2, 3], [9], ROBOT, MUG).save(paths[2])
    return paths


def test_the_command_prints_and_draws(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    robot, mug, joint = files
    result = run(robot, mug, "--joint", joint, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "shared by chance over chance z jaccard"
    assert lines[1].startswith("sks robot | zas mug 3 1.6 1.84 ")
    assert lines[2].startswith("union | joint 2 ")
    assert lines[3] == (
        "of the joint search's neurons 66.7% are in the union (by chance 43.3%), of the union's "
        "22.2% in the joint search's (by chance 14.4%)"
    )
    assert lines[4] == str(tmp_path / "overlap.png")
    with Image.open(tmp_path / "overlap.png") as figure:
        assert figure.format == "PNG"


def test_the_command_tells_machines_every_layer(
    files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    figure = tmp_path / "new" / "figure.png"
    about = json.loads(run(*files[:2], "--out", figure, "--json").stdout)
    assert about["figure"] == str(figure) and figure.is_file()
    (pair,) = about["pairs"]
    assert (pair["first"], pair["second"], pair["shared"]) == ("sks robot", "zas mug", 3)
    assert {layer: told["shared"] for layer, told in pair["layers"].items()} == {KEY: 2, VALUE: 1}
    assert pair["expected"] == pytest.approx(4 * 4 / 12 + 3 * 1 / 10)
    assert list(about["groups"]) == ["down_blocks.0", "mid_block"] and about["joint"] is None


def test_sets_of_one_subject_go_by_their_files(
    files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    make([], [], ROBOT).save(tmp_path / "none")
    result = run(files[0], tmp_path / "none", "--out", tmp_path / "figure.png")
    assert result.exit_code == 0, result.output
    row = " ".join(result.stdout.splitlines()[1].split())
    assert row == "sks robot (robot) | sks robot (none) 0 0.0 - - 0.0000"


def test_wrong_usage_is_one_line(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    ConceptNeurons({KEY: (3, 5)}, {KEY: np.array([0])}).save(other)
    figure = tmp_path / "figure.png"
    for arguments, status, message in (
        (files[:1], 2, "expected two neuron files or more, found one"),
        ((), 2, "FILE: is missing"),
        ((files[0], other), 1, "the neurons are of different base models"),
        ((*files[:2], "--joint", other), 1, "the neurons are of different base models"),
        ((files[0], tmp_path / "nowhere"), 1, "nowhere"),
    ):
        result = run(*arguments, "--out", figure)
        assert result.exit_code == status, result.output
        assert message in result.stderr.splitlines()[-1]
        assert not figure.exists()
