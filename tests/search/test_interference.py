"""Several subjects: their union, what each keeps in it, and the commands that search and unite."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fails, misused, passes
from PIL import Image
from tiny import tiny_folder, tiny_pipeline

from cones.errors import BaseModelError, BaseModelWarning, InputError
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import load, neurons_hash
from cones.neurons.projections import projections, shapes
from cones.neurons.shutting import shut
from cones.neurons.union import strength_warning
from cones.sampling.generate import generate
from cones.search.config import FindConfig
from cones.search.find import find
from cones.search.interference import Interference, Kept, combine, interference
from cones.search.objective import ImplantingLoss
from cones.subjects.subject import Subject

TOKENS = ("sks", "zas", "hta", "uer", "ucn")
CROWD = "5 subjects at once: up to 4 are known to work; some may be lost or mixed"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


def drawn(backbone: Backbone, token: str, noun: str, density: float = 0.02) -> ConceptNeurons:
    """Neurons by chance, the same for the same token."""
    rng = np.random.default_rng(sum(token.encode()))
    sizes = shapes(projections(backbone))
    indices = {
        layer: np.flatnonzero(rng.random(rows * columns) < density)
        for layer, (rows, columns) in sizes.items()
    }
    return ConceptNeurons(sizes, indices, subjects=(SubjectInfo(token, noun),))


def photographed(token: str, noun: str) -> Subject:
    rng = np.random.default_rng(sum(token.encode()))
    images = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(2)]
    return Subject(tuple(images), noun, token)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "cones"]


# -- combine ---------------------------------------------------------------------------------------


def test_the_union_does_not_depend_on_the_order(backbone: Backbone) -> None:
    a, b, c = (
        drawn(backbone, *each) for each in (("sks", "robot"), ("zas", "mug"), ("uer", "car"))
    )
    union = combine([a, b, c])
    assert union == combine([c, b, a]) == a | (b | c)
    assert [each.token for each in union.subjects] == ["sks", "uer", "zas"]
    assert combine([a]) == a


def test_a_token_of_two_subjects_is_refused_also_of_one_noun(backbone: Backbone) -> None:
    robot = drawn(backbone, "sks", "robot")
    line = (
        r"^token 'sks': stands for two subjects \(robot, robot\); find one of them again with "
        r"another --token: neurons answer only to the word that they were found with$"
    )
    with pytest.raises(InputError, match=line):
        combine([robot, robot - drawn(backbone, "zas", "mug")])


def test_neurons_that_are_given_twice_count_once_and_that_is_said(
    backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    robot, line = (
        drawn(backbone, "sks", "robot"),
        "the neurons of 'sks robot' are given twice, where once is enough",
    )
    with caplog.at_level(logging.WARNING, "cones"):
        assert combine([robot, robot]) == robot
        (picture,) = generate(backbone, "a sks robot", neurons=[robot, robot], steps=1)
    assert told(caplog) == [line] * 2
    assert picture.provenance["neurons"] == neurons_hash(robot)


def test_no_sets_are_refused() -> None:
    with pytest.raises(InputError, match="expected at least one set, found none"):
        combine([])


def test_subjects_of_different_models_are_refused_or_warned_of(backbone: Backbone) -> None:
    robot, mug = drawn(backbone, "sks", "robot"), drawn(backbone, "zas", "mug")
    other = ConceptNeurons({"other.to_k": (2, 2)}, {}, subjects=mug.subjects)
    with pytest.raises(BaseModelError, match="the neurons are of different base models"):
        combine([robot, other])
    with pytest.warns(BaseModelWarning, match="found in 2 models of one layout, one and two"):
        combine(
            [replace(robot, base=BaseInfo("one", "1")), replace(mug, base=BaseInfo("two", "2"))]
        )


def test_five_subjects_work_and_are_warned_of(
    backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    sets = [drawn(backbone, token, "robot") for token in TOKENS]
    with caplog.at_level(logging.WARNING, "cones"):
        assert len(combine(sets).subjects) == 5
        prompt = " and a ".join(f"{token} robot" for token in TOKENS)
        assert len(generate(backbone, prompt, neurons=sets, steps=1)) == 1
        assert told(caplog) == [CROWD, CROWD]
        caplog.clear()
        combine(sets[:4])
    assert told(caplog) == []


def test_what_is_shut_less_beside_tuned_values_is_warned_of(
    backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    robot = replace(drawn(backbone, "sks", "robot"), strength=1.5)
    mug = drawn(backbone, "zas", "mug")
    mug = replace(mug, values={k: np.full(len(i), 0.1) for k, i in mug.indices.items()})
    with caplog.at_level(logging.WARNING, "cones"):
        combine([robot, mug])
        prompt = "a sks robot and a zas mug"
        (picture,) = generate(backbone, prompt, neurons=[robot, mug], steps=1)
    line = strength_warning([robot, mug])
    assert line is not None and told(caplog) == [line, line]
    assert picture.provenance["strength"] == "1.0"
    weights = projections(backbone)
    with shut(backbone, [robot, mug]):
        for layer, index in mug.indices.items():
            own = np.isin(index, robot.indices[layer], invert=True)
            values = weights[layer].detach().flatten()[index[own]]
            assert torch.equal(values, torch.full_like(values, 0.1))


# -- interference ----------------------------------------------------------------------------------


def test_without_photographs_there_is_the_overlap(backbone: Backbone) -> None:
    robot, mug = drawn(backbone, "sks", "robot"), drawn(backbone, "zas", "mug")
    report = interference(None, [robot, mug])
    (pair,) = report.pairs
    assert pair.shared == robot.overlap(mug).shared
    assert report.kept == () and report.remarks() == []


def test_losses_are_those_of_the_search_on_held_out_noise(backbone: Backbone) -> None:
    subject = photographed("sks", "robot")
    config = FindConfig(batch=8, prior_batch=1, prior_images=1, layers="text")
    objective = ImplantingLoss.of(
        backbone, [subject], config, config.layers, {"robot": subject.images[:1]}
    )
    robot, mug = drawn(backbone, "sks", "robot"), drawn(backbone, "zas", "mug")
    (kept,) = interference(backbone, [robot, mug], [subject]).kept
    shut = torch.cat([torch.from_numpy(mask).flatten() for mask in _in_order(robot, objective)])
    for weights, loss in (
        (objective.theta, kept.base),
        (objective.theta * ~shut, kept.alone),
    ):
        assert loss == pytest.approx(objective.held_out(weights)["subject"], rel=1e-5)


def _in_order(neurons: ConceptNeurons, objective: ImplantingLoss) -> list[np.ndarray]:
    masks = neurons.masks()
    return [masks[layer] for layer in objective.shapes]


def test_each_keeps_all_beside_an_empty_set_and_the_model_stays_as_it_was(
    backbone: Backbone,
) -> None:
    before = {name: value.clone() for name, value in backbone.denoiser.state_dict().items()}
    robot, none = drawn(backbone, "sks", "robot"), drawn(backbone, "zas", "mug", 0)
    subjects = [photographed("sks", "robot"), photographed("zas", "mug")]
    steps: list[tuple[str, int, int]] = []
    report = interference(
        backbone, [robot, none], subjects, on_progress=lambda *each: steps.append(each[:3])
    )
    first, second = report.kept
    assert (first.phrase, second.phrase) == ("sks robot", "zas mug")
    assert first.alone == first.union != first.base
    assert second.alone == second.base and second.share is None
    assert steps == [("measure", 1, 2), ("measure", 2, 2)]
    after = backbone.denoiser.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    again = interference(backbone, [robot, none], subjects)
    assert again.kept == report.kept


def test_the_set_that_spoils_a_subject_is_named(backbone: Backbone) -> None:
    subject = photographed("sks", "robot")
    quick = FindConfig(density=0.03, steps=10, batch=4, prior_batch=1, prior_images=1)
    robot = find(backbone, subject, quick, {"robot": subject.images})
    mug, weights = drawn(backbone, "zas", "mug", 0.001), projections(backbone, "all")
    undone = {
        layer: weights[layer].detach().flatten()[index].numpy()
        for layer, index in robot.indices.items()
    }
    car = replace(robot, values=undone, subjects=(SubjectInfo("uer", "car"),), strength=1)
    (kept,) = interference(backbone, [mug, robot, car], [subject]).kept
    assert kept.alone < kept.union and kept.lost and kept.clash == "uer car"


def test_the_kept_share_and_what_is_said_of_it() -> None:
    fine = Kept("sks robot", base=1.0, alone=0.5, union=0.7)
    poor = Kept("zas mug", base=1.0, alone=0.5, union=0.9, clash="sks robot")
    idle = Kept("uer car", base=1.0, alone=1.0, union=0.9)
    assert fine.share == pytest.approx(0.6) and not fine.lost
    assert poor.share == pytest.approx(0.2) and poor.lost
    assert idle.share is None and not idle.lost
    worse = Kept("zas mug", base=1.0, alone=0.5, union=1.5, clash="sks robot")
    assert worse.share == 0 and worse.lost
    assert Interference((), (worse,)).remarks()[0].startswith("'zas mug' keeps 0% of")
    chance = Kept("uer car", base=1.0, alone=0.9999, union=1.001, gain_se=0.001)
    assert chance.share is None and not chance.lost
    assert Interference((), (fine, poor, idle)).remarks() == [
        "'zas mug' keeps 20% of what its own neurons gain and clashes most with 'sks robot'; "
        "search them together with cones find, --images, --class_noun and --token once for each",
        "'uer car': its own neurons do not clearly lower its loss; find them again, or give its "
        "own photographs",
    ]


def test_photographs_without_neurons_or_model_are_refused(backbone: Backbone) -> None:
    sets = [drawn(backbone, "sks", "robot"), drawn(backbone, "zas", "mug")]
    with pytest.raises(InputError, match="'uer': no neurons are of it; expected one of sks, zas"):
        interference(backbone, sets, [photographed("uer", "car")])
    with pytest.raises(InputError, match="backbone: photographs need a model to measure with"):
        interference(None, sets, [photographed("sks", "robot")])
    with pytest.raises(InputError, match="seed: expected 0 to 1099511627776, found 1099511627777"):
        interference(backbone, sets, [photographed("sks", "robot")], seed=2**40 + 1)


# -- the commands ----------------------------------------------------------------------------------

QUICK = ("--steps", "2", "--batch", "2", "--model", tiny_folder())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folders = tmp_path_factory.mktemp("robot"), tmp_path_factory.mktemp("mug")
    for folder, token in zip(folders, TOKENS, strict=False):
        for number, image in enumerate(photographed(token, "robot").images):
            image.save(folder / f"{number}.png")
    return folders


@pytest.fixture(scope="module")
def files(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("found")
    paths = folder / "robot.cones.safetensors", folder / "mug.cones.safetensors"
    for path, named in zip(paths, (("sks", "robot"), ("zas", "mug")), strict=True):
        drawn(backbone, *named, 0.05).save(path)
    return paths


def both(photos: tuple[Path, Path]) -> tuple[object, ...]:
    robot, mug = photos
    return (
        "--images", robot, "--class_noun", "robot", "--token", "sks",
        "--images", mug, "--class_noun", "mug", "--token", "zas",
    )  # fmt: skip


def test_find_searches_several_subjects_together(
    photos: tuple[Path, Path], files: tuple[Path, Path], tmp_path: Path
) -> None:
    result = passes("find", *QUICK, *both(photos), "--out", tmp_path)
    joint = load(tmp_path / "sks-robot-zas-mug.cones.safetensors")
    assert [(s.token, s.class_noun) for s in joint.subjects] == [("sks", "robot"), ("zas", "mug")]
    assert joint.density == pytest.approx(2 * FindConfig().density, abs=1e-3)
    assert "loss on the subjects" in result.stdout
    begun = tmp_path / "begun.cones.safetensors"
    passes("find", *QUICK, *both(photos), "--start", files[0], "--start", files[1], "--out", begun)
    union = load(files[0]) | load(files[1])
    assert load(begun).overlap(union).shared > 2 * joint.overlap(union).shared


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "2 --images, 1 --class_noun, 1 --token: give one of each for each subject"),
        (("--token", "zas", "--token", "uer"), "2 --images, 1 --class_noun, 2 --token: "),
        (
            ("--class_noun", "mug", "--token", "sks", "--token", "zas", "--class_data_dir", "x"),
            "2 --images, 2 --class_noun, 2 --token, 1 --class_data_dir: ",
        ),
    ],
)
def test_options_that_cannot_be_matched_are_refused(options: tuple[str, ...], message: str) -> None:
    given = ("find", "--images", "a", "--images", "b", "--class_noun", "robot", *options)
    assert misused(*given).startswith(message)


def test_find_refuses_one_token_for_two(photos: tuple[Path, Path], tmp_path: Path) -> None:
    options = (*both(photos)[:-1], "sks", "--out", tmp_path)
    line = fails("find", *QUICK, *options)
    assert line.startswith("token 'sks': stands for two subjects (robot, mug); give each its own")


def test_combine_unites_and_tells_the_overlap(files: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "new" / "both.cones.safetensors"
    result = passes("combine", *files, "-o", path)
    union = load(path)
    assert union == load(files[0]) | load(files[1])
    words = " ".join(result.stdout.split())
    for part in (
        "pair shared by chance ratio z sks robot, zas mug",
        f"{len(union):,} neurons",
        f"{path}: {path.stat().st_size:,} bytes",
        "to see what each keeps, give the photographs: --images for each of sks robot, zas mug",
    ):
        assert part in words


def test_combine_measures_what_each_keeps(
    files: tuple[Path, Path], photos: tuple[Path, Path], tmp_path: Path
) -> None:
    given = ("combine", *files, "--out", tmp_path, "--model", tiny_folder())
    options = ("--images", photos[0], "--images", photos[1])
    words = " ".join(passes(*given, *options).stdout.split())
    assert "held-out loss nothing shut own neurons all neurons kept" in words
    result = passes(*given, *options, "--json")
    about = json.loads(result.stdout)
    assert about["file"] == str(tmp_path / "sks-robot-zas-mug.cones.safetensors")
    assert [each["phrase"] for each in about["kept"]] == ["sks robot", "zas mug"]
    assert len(about["pairs"]) == 1
    warned = [line for line in result.stderr.splitlines() if line.startswith("cones: warning: ")]
    assert [line.removeprefix("cones: warning: ") for line in warned] == about["remarks"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "FILE: is missing; expected neuron files"),
        ((__file__,), "give two neuron files or more"),
    ],
)
def test_too_few_files_are_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    assert misused("combine", *arguments).startswith(message)


def test_combine_refuses_what_does_not_fit(
    backbone: Backbone, files: tuple[Path, Path], photos: tuple[Path, Path], tmp_path: Path
) -> None:
    out, model = ("--out", tmp_path / "out"), ("--model", tiny_folder())
    assert misused("combine", *files, *out, *model) == (
        "--model: has an effect with --images only; leave it out"
    )
    three = [word for folder in (*photos, photos[0]) for word in ("--images", folder)]
    assert misused("combine", *files, *out, *three) == (
        "expected an --images for each of sks robot, zas mug, in this order, found 3"
    )
    gone = ("--images", photos[0], "--images", tmp_path / "gone")
    assert "does not exist; give the folder" in fails("combine", *files, *out, *gone)
    twice = "the neurons of 'sks robot' are given twice, where once is enough; name each file once"
    assert "is given twice" in misused("combine", files[0], files[0], *out)
    again = shutil.copy(files[0], tmp_path / "again.cones.safetensors")
    assert fails("combine", files[0], again, *out) == twice
    strange = tmp_path / "strange.cones.safetensors"
    ConceptNeurons({"other.to_k": (2, 2)}, {}, subjects=(SubjectInfo("uer", "car"),)).save(strange)
    assert "the neurons are of different base models" in fails("combine", *files, strange, *out)
    assert not list((tmp_path / "out").glob("*"))
