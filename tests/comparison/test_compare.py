"""The comparison: its design, its entries, its results, its table, and `cones compare`."""

import json
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from quick_methods import fitted, tree
from quick_protocol import QUICK
from tiny import tiny_folder, tiny_pipeline
from typer.testing import CliRunner, Result

from cones.cli.program import app
from cones.comparison.entries import ENTRIES, FitCache, joint_config
from cones.comparison.groups import Member, design, read_tree
from cones.comparison.markdown import page
from cones.comparison.runner import CompareConfig, Comparison
from cones.comparison.store import ResultStore, part
from cones.comparison.table import compare, kept_rows, rows, write_table
from cones.distributed import Processes
from cones.errors import ConesError, InputError
from cones.methods.artifact import Cones
from cones.methods.registry import METHODS
from cones.methods.trained_weights import TunedWeights
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.search.identity import modules_hash

__all__ = ["fitted", "tree"]  # fixtures


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


def comparison(backbone: Backbone, tree: Path, cache: Path, **changes: Any) -> Comparison:
    few: dict[str, Any] = {"blocks": (1, 2), "prompts": ("a photo of a {}",), "num_images": 1}
    return Comparison(backbone, tree, cache, CompareConfig(**(few | changes)), QUICK)


# -- design ----------------------------------------------------------------------------------------


def members(nouns: str) -> list[Any]:
    return [
        SimpleNamespace(name=k, subject=SimpleNamespace(class_noun=n)) for k, n in enumerate(nouns)
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [3, 8])
@pytest.mark.parametrize("nouns", ["abcdefgh", "aabbccdd", "abcdefghijklmnop", "aaaa"])
def test_groups_are_fixed_balanced_and_differ(nouns: str, size: int, count: int) -> None:
    groups = [tuple(member.name for member in each) for each in design(members(nouns), size, count)]
    assert groups == [tuple(m.name for m in each) for each in design(members(nouns), size, count)]
    possible = len(list(combinations(nouns, size)))
    assert len(groups) == len({frozenset(group) for group in groups}) == min(count, possible)
    assert all(len(set(group)) == size for group in groups)
    uses = Counter(k for group in groups for k in group)
    counts = [uses[k] for k in range(len(nouns))]
    assert max(counts) - min(counts) <= 1


def test_eight_subjects_in_eight_groups_stand_in_equally_many() -> None:
    for size in (1, 2, 3, 4):
        uses = Counter(m.name for group in design(members("abcdefgh"), size, 8) for m in group)
        assert set(uses.values()) == {size} and len(uses) == 8


def test_classes_of_a_group_differ_where_possible() -> None:
    for group in design(members("aabbcc"), 3, 4):
        assert len({member.subject.class_noun for member in group}) == 3


@pytest.mark.parametrize(
    ("size", "count", "name"), [(3, 8, "blocks"), (0, 8, "blocks"), (1, 0, "groups")]
)
def test_a_design_that_cannot_be_is_refused(size: int, count: int, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: .*found"):
        design(members("ab"), size, count)


def test_a_tree_gives_each_subject_its_class_and_its_token(backbone: Backbone, tree: Path) -> None:
    for folder in ("tea_pot-10", "tea_pot-9"):
        (tree / folder).mkdir()
        Image.new("RGB", (16, 16)).save(tree / folder / "0.png")
    (tree / "tea_pot-9" / "metadata.jsonl").write_text('{"file_name": "0.png", "class": "ball"}\n')
    found = read_tree(tree, backbone)
    assert [member.name for member in found] == ["mug-1", "robot-1", "tea_pot-9", "tea_pot-10"]
    phrases = [member.subject.phrase for member in found]
    assert phrases == ["sks mug", "ohwx robot", "hta ball", "ucn tea pot"]


def test_a_tree_that_cannot_be_used_is_one_line(backbone: Backbone, tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            read_tree(tmp_path / "tree", backbone)
        assert "\n" not in str(caught.value)

    refused("is no folder")
    (tmp_path / "tree").mkdir()
    refused("expected a folder for each subject, such as robot-1, found none")
    (tmp_path / "tree" / "robot-1").mkdir()
    refused("robot-1 is empty; put the subject's photographs into it")
    for number in range(2, 18):
        (tmp_path / "tree" / f"robot-{number}").mkdir()
    refused("holds 17 subjects, but .* has only 16 rare tokens; compare fewer at once")


# -- parts and hashes ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "²/2", "1/0", ""])
def test_a_wrong_part_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="split: expected i/n"):
        part(text)
    assert part("2/3") == (1, 3)


def test_other_weights_are_another_hash() -> None:
    one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    two.load_state_dict(one.state_dict())
    assert modules_hash([one]) == modules_hash([two]) != modules_hash([one, two])
    with torch.no_grad():
        two.bias[0] += 1
    assert modules_hash([one]) != modules_hash([two])


# -- methods ---------------------------------------------------------------------------------------


def test_joint_training_sees_each_subject_as_often_as_alone() -> None:
    for method in ("dreambooth", "custom_diffusion", "lora"):
        alone = joint_config(METHODS[method], 1)
        assert alone == METHODS[method].defaults
        for count in (2, 3, 4):
            config = joint_config(METHODS[method], count)
            assert config.steps == count * alone.steps and config.rate == alone.rate
            assert config.steps * config.batch >= alone.steps * alone.batch
            assert (config.batch - 1) * count < alone.batch
    assert joint_config(METHODS["cones"], 3) == METHODS["cones"].defaults


@pytest.fixture
def fits(backbone: Backbone, tmp_path: Path) -> FitCache:
    return FitCache(backbone, {}, ResultStore(tmp_path / "fits.jsonl"))


@pytest.fixture
def group(backbone: Backbone, tree: Path) -> tuple[Member, ...]:
    return tuple(read_tree(tree, backbone))


def test_what_is_fitted_alone_is_put_together_and_kept(
    fits: FitCache, group: tuple[Member, ...], fitted: Counter[tuple[str, int]]
) -> None:
    alone = [fits.kept("textual_inversion", (member,)) for member in group]
    both = ENTRIES["textual_inversion"].fit(fits, group)
    assert isinstance(both.artifact, TunedWeights)
    assert [each.token for each in both.artifact.subjects] == ["ohwx", "sks"]
    for member, one in zip(group, alone, strict=True):
        assert isinstance(one.artifact, TunedWeights)
        token = member.subject.token
        assert torch.equal(both.artifact.embeddings[token], one.artifact.embeddings[token])
    assert both.seconds == alone[0].seconds + alone[1].seconds > 0
    assert fitted == {("textual_inversion", 1): 2}


def test_cones_are_united_searched_together_and_tuned(
    fits: FitCache, group: tuple[Member, ...], fitted: Counter[tuple[str, int]]
) -> None:
    found = {name: ENTRIES[name].fit(fits, group) for name in ENTRIES if "cones" in name}
    neurons = {
        k: each.artifact.neurons for k, each in found.items() if isinstance(each.artifact, Cones)
    }
    alone = [fits.kept("cones", (member,)).artifact for member in group]
    union = alone[0].neurons | alone[1].neurons  # type: ignore[attr-defined]
    assert neurons["cones"] == union and union.values is None
    assert neurons["cones_joint"].values is None and neurons["cones_joint"] != union
    assert neurons["cones_tuned"].values is not None
    assert len(neurons["cones_tuned"]) == len(union)
    assert found["cones_tuned"].seconds > found["cones"].seconds
    assert fitted == {("cones", 1): 2, ("cones", 2): 1}
    assert ENTRIES["cones_joint"].fit(fits, group[:1]).artifact.digest() == alone[0].digest()


def test_unknown_methods_are_refused(backbone: Backbone, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="method 'cone': is unknown; expected one of textual_inv"):
        comparison(backbone, tree, tmp_path, methods=("cones", "cone"))
    with pytest.raises(InputError, match="method 'cones': is given twice; give it once"):
        comparison(backbone, tree, tmp_path, methods=("cones", "lora", "cones"))


# -- the comparison --------------------------------------------------------------------------------


def without_seconds(value: Any) -> Any:
    if isinstance(value, list):
        return [without_seconds(each) for each in value]
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if not k.startswith("seconds")}
    return value


def test_every_method_of_every_block_is_in_the_table(
    backbone: Backbone, tree: Path, tmp_path: Path, fitted: Counter[tuple[str, int]]
) -> None:
    before = modules_hash([backbone.denoiser, backbone.pipeline.text_encoder])
    whole = comparison(backbone, tree, tmp_path / "cache")
    whole.run()
    assert modules_hash([backbone.denoiser, backbone.pipeline.text_encoder]) == before
    assert fitted["cones", 1] == fitted["textual_inversion", 1] == 2  # in both blocks
    table = write_table(tmp_path / "docs", whole)
    assert json.loads((tmp_path / "docs" / "table.json").read_text()) == table
    assert [(row["subjects"], row["method"]) for row in table["cells"]] == [
        (size, method) for size in (1, 2) for method in ENTRIES
    ]
    for row in table["cells"]:
        for name in ("text_alignment", "image_alignment", "presence", "drift", "bytes", "seconds"):
            assert isinstance(row[name], float) and (row["subjects"] == 2) == (
                row[f"{name}_se"] is None
            )
        assert row["groups"] == row["planned"] == 3 - row["subjects"]
        assert "dino_alignment" not in row
    assert [row["subjects"] for row in table["ceiling"]] == [1, 2]
    assert all(row["image_alignment"] > 0 and row["bytes"] is None for row in table["ceiling"])
    size = {(row["subjects"], row["method"]): row["bytes"] for row in table["cells"]}
    assert size[2, "textual_inversion"] < size[2, "cones"] < size[2, "custom_diffusion"]
    text = (tmp_path / "docs" / "table.md").read_text()
    assert "## 1 subject\n" in text and "## 2 subjects\n" in text
    assert text.count("| 2 of 2 groups |") == text.count("| 1 of 1 groups |") == 8
    assert text.count("| *fresh renders* |") == 2
    assert "protocol" in text.lower() and "quick 3" in text and str(tmp_path) not in text
    with Image.open(tmp_path / "docs" / "table.png") as figure:
        assert figure.height > 2 * 8 * 128


def test_interrupted_and_continued_is_as_in_one_go(
    backbone: Backbone, tree: Path, tmp_path: Path, fitted: Counter[tuple[str, int]]
) -> None:
    methods = ("lora", "cones_tuned")
    whole = comparison(backbone, tree, tmp_path / "whole", methods=methods)
    whole.run()

    def stop(_: str, done: int, *__: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    first = comparison(backbone, tree, tmp_path / "cut", methods=methods)
    with pytest.raises(KeyboardInterrupt):
        first.run(on_progress=stop)
    kept = (tmp_path / "cut" / "table.jsonl").read_bytes()
    assert kept.count(b"\n") == 3
    again = comparison(backbone, tree, tmp_path / "cut", methods=methods)
    again.run()
    assert (tmp_path / "cut" / "table.jsonl").read_bytes().startswith(kept)
    tables = [write_table(tmp_path / "docs", each) for each in (whole, again)]
    assert without_seconds(tables[0]) == without_seconds(tables[1])
    for one, two in zip(whole.done(), again.done(), strict=True):
        assert without_seconds(one[1]) == without_seconds(two[1])
        first, second = (
            each.store.file(task.key, ".png") for each, task in ((whole, one[0]), (again, two[0]))
        )
        assert first.exists() == second.exists() == (one[0].number == 0)
        assert not first.exists() or first.read_bytes() == second.read_bytes()


def test_parts_share_the_results_and_a_part_is_of_use(
    backbone: Backbone, tree: Path, tmp_path: Path, fitted: Counter[tuple[str, int]]
) -> None:
    chosen = {"methods": ("textual_inversion", "cones"), "blocks": (1,)}
    one, two = (comparison(backbone, tree, tmp_path / "cache", **chosen) for _ in range(2))
    told: list[tuple[Any, ...]] = []
    one.run((0, 2), lambda *step: told.append(step))
    assert told == [("compare", 1, 2, {}), ("compare", 2, 2, {})]
    assert [task.number for task, _ in one.done()] == [0, 1]
    (row,) = write_table(tmp_path / "docs", one)["cells"]
    assert row["method"] == "textual_inversion" and row["groups"] == 2
    two.tasks = two.tasks[:2]
    two.run((1, 2))
    assert len(two.done()) == 2
    write_table(tmp_path / "docs", one)
    text = (tmp_path / "docs" / "table.md").read_text()
    assert "| 1 of 2 groups |" in text and "| 2 of 2 groups |" in text


def test_processes_share_the_results_and_the_main_one_writes(
    backbone: Backbone, tree: Path, tmp_path: Path, fitted: Counter[tuple[str, int]]
) -> None:
    class Beside(Processes):
        def wait(self) -> None:
            """The other one is another call."""

    methods = ("textual_inversion", "cones")
    config = CompareConfig(methods, (1,), prompts=("a photo of a {}",), num_images=1)

    def compared(rank: int) -> dict[str, Any]:
        folders = tree, tmp_path / "docs", tmp_path / "cache"
        return compare(backbone, *folders, config, QUICK, processes=Beside(rank, 2))

    assert compared(1) == {} and not (tmp_path / "docs").exists()
    assert fitted == {("cones", 1): 2}
    assert [(row["method"], row["groups"]) for row in compared(0)["cells"]] == [
        ("textual_inversion", 2),
        ("cones", 2),
    ]


def test_other_pictures_prompts_or_photographs_are_other_results(
    backbone: Backbone, tree: Path, tmp_path: Path
) -> None:
    def keys(**changes: Any) -> set[str]:
        found = comparison(backbone, tree, tmp_path, methods=("cones",), **changes)
        return {task.key for task in found.tasks}

    sets = [keys(), keys(num_images=2), keys(prompts=("the {}",))]
    (tree / "mug-1" / "00.png").unlink()
    sets.append(keys())
    assert [len(each) for each in sets] == [3] * 4
    assert len(set.union(*sets[:3])) == 9 and len(sets[0] & sets[3]) == 1  # the robot alone


def test_a_fit_that_diverges_is_said_and_the_rest_goes_on(
    backbone: Backbone,
    tree: Path,
    tmp_path: Path,
    fitted: Counter[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    method = METHODS["lora"]

    def fails(backbone: Any, subjects: Any, *rest: Any) -> Any:
        if subjects[0].class_noun == "mug":
            raise ConesError("training: the loss became infinite")
        return method.fit(backbone, subjects, *rest)

    monkeypatch.setitem(METHODS, "lora", replace(method, fit=fails))
    found = comparison(backbone, tree, tmp_path / "cache", methods=("lora",), blocks=(1,))
    found.run()
    assert "lora of mug-1: training: the loss became infinite" in caplog.text
    (row,) = write_table(tmp_path / "docs", found)["cells"]
    assert (row["groups"], row["planned"], row["diverged"]) == (1, 2, 1)
    assert "| 1 of 2 groups, 1 diverged |" in (tmp_path / "docs" / "table.md").read_text()
    refused = replace(method, fit=lambda *_: (_ for _ in ()).throw(InputError("no peft")))
    monkeypatch.setitem(METHODS, "lora", refused)
    with pytest.raises(InputError, match="no peft"):
        comparison(backbone, tree, tmp_path / "other", methods=("lora",)).run()


def test_a_prompt_that_cannot_be_drawn_is_refused_before_all_fitting(
    backbone: Backbone, tree: Path, tmp_path: Path, fitted: Counter[tuple[str, int]]
) -> None:
    with pytest.raises(InputError, match="where the subject is to stand"):
        comparison(backbone, tree, tmp_path, prompts=("a robot",))
    with pytest.raises(InputError, match="braces"):
        comparison(backbone, tree, tmp_path, prompts=("a {} {place}",)).run()
    assert not fitted


# -- the table -------------------------------------------------------------------------------------


def cell(
    method: str = "cones", subjects: int = 1, version: int = 1, **figures: Any
) -> dict[str, Any]:
    names = ("text_alignment", "image_alignment", "dino_alignment", "presence", "drift", "bytes")
    provenance = {"protocol": {"name": "quick", "version": version}, "model": {"weights": "a"}}
    empty = dict.fromkeys((*names, "seconds", "ceiling"))
    return {"subjects": subjects, "method": method, **empty, "provenance": provenance, **figures}


def test_rows_are_means_with_standard_errors_over_the_groups() -> None:
    cells = [cell(text_alignment=0.1), cell(text_alignment=0.3), cell("lora", text_alignment=0.5)]
    one, two = rows(cells, {1: 8, 2: 8})
    assert one["text_alignment"] == pytest.approx(0.2)
    assert one["text_alignment_se"] == pytest.approx(0.1)
    assert (one["groups"], one["planned"]) == (2, 8)
    assert (two["text_alignment"], two["text_alignment_se"], two["drift"]) == (0.5, None, None)


def test_unlike_protocols_are_never_in_one_table() -> None:
    message = "the results: the protocol's version differs \\(1 and 2\\)"
    with pytest.raises(InputError, match=message):
        rows([cell(), cell(version=2)], {1: 2})


def test_the_best_of_a_column_is_bold() -> None:
    cells = [
        cell("lora", text_alignment=0.1, drift=0.3, bytes=2000, dino_alignment=0.5),
        cell("cones", text_alignment=0.2, drift=0.4, bytes=1000, dino_alignment=0.4),
    ]
    protocol = {**QUICK.as_dict(), "prompts": ["a {}"], "general_prompts": ["a"], "seeds": [0]}
    about = {"protocol": protocol, "model": {"weights": "a", "precision": "b"}, "subjects": {}}
    table = {**about, "cells": rows(cells, {1: 1}), "ceiling": []}
    text = page(table, "toybox", "cones compare")
    assert "| LoRA | 0.1000 | - | **0.5000** | - | **0.3000** | 2,000 | - | 1 of 1 groups |" in text
    assert (
        "| Cones | **0.2000** | - | 0.4000 | - | 0.4000 | **1,000** | - | 1 of 1 groups |" in text
    )
    partial = {**table, "cells": rows(cells, {1: 2})}
    text = page(partial, "toybox", "cones compare")
    assert "| 0.2000 |" in text and "| **" not in text


def test_rows_of_an_earlier_run_stay_if_they_are_alike(
    backbone: Backbone, tree: Path, tmp_path: Path, fitted: Counter[tuple[str, int]]
) -> None:
    chosen: dict[str, Any] = {"blocks": (1,), "groups": 1}
    first = comparison(backbone, tree, tmp_path / "cache", methods=("cones",), **chosen)
    first.run()
    assert kept_rows(tmp_path / "docs", first) == []
    old = write_table(tmp_path / "docs", first)
    figure = (tmp_path / "docs" / "table.png").read_bytes()
    second = comparison(
        backbone, tree, tmp_path / "cache", methods=("textual_inversion",), **chosen
    )
    second.run()
    kept = kept_rows(tmp_path / "docs", second)
    assert kept == old["cells"] and kept_rows(tmp_path / "docs", first) == []
    both = write_table(tmp_path / "docs", second, kept)["cells"]
    assert [row["method"] for row in both] == ["textual_inversion", "cones"]
    assert (tmp_path / "docs" / "table.png").read_bytes() == figure  # which shows the other rows
    assert "](table.png)" in (tmp_path / "docs" / "table.md").read_text()
    unlike = comparison(
        backbone, tree, tmp_path, methods=("textual_inversion",), **chosen, num_images=2
    )
    with pytest.raises(InputError, match=r"table\.json: the protocol's seeds differs .*--out"):
        kept_rows(tmp_path / "docs", unlike)
    (tree / "robot-1" / "00.png").unlink()
    other = comparison(backbone, tree, tmp_path, methods=("cones",), **chosen)
    with pytest.raises(InputError, match=r"table\.json: is of other subjects .*add --overwrite"):
        kept_rows(tmp_path / "docs", other)
    (tmp_path / "docs" / "table.json").write_text('{"cells": 3}')
    with pytest.raises(InputError, match="is no table of cones compare"):
        kept_rows(tmp_path / "docs", second)
    (tmp_path / "docs" / "table.json").unlink()
    with pytest.raises(InputError, match=r"table\.md: is there without table\.json"):
        kept_rows(tmp_path / "docs", second)


# -- the command -----------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *(str(each) for each in arguments)])


def test_a_dry_run_lists_the_cells_and_measures_none(
    tree: Path, tmp_path: Path, fitted: Counter[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["cones.evaluation"], "named_protocol", lambda *_: QUICK)
    chosen = ["--subjects", tree, "--model", tiny_folder(), "--groups", 1, "--methods", "cones"]
    chosen += ["--blocks", 1, 2, "--out", tmp_path / "out", "--dry_run"]
    told = run(*chosen, "--json")
    assert told.exit_code == 0, told.output
    cells = json.loads(told.stdout)["results"]
    assert [(each["subjects"], each["state"]) for each in cells] == [
        (1, "to measure"),
        (2, "to measure"),
    ]
    assert not (tmp_path / "out").exists()
    ResultStore(tmp_path / "out" / "results" / "table.jsonl").put(cells[0]["key"], {}, {})
    assert run(*chosen).stdout.splitlines()[-1] == "1 to measure, 1 there"
    assert not fitted


def test_the_command_writes_the_table_and_goes_on(
    tree: Path, tmp_path: Path, fitted: Counter[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["cones.evaluation"], "named_protocol", lambda *_: QUICK)
    (tmp_path / "prompts.txt").write_text("the {}\n")
    arguments = [
        "--subjects",
        tree,
        "--model",
        tiny_folder(),
        "--prompts",
        tmp_path / "prompts.txt",
    ]
    arguments += ["--num_images", 1, "--cache", tmp_path / "cache", "--out", tmp_path / "docs"]
    chosen = ["--blocks", 1, 2, "--methods", "cones", "textual_inversion"]
    result = run(*arguments, *chosen)
    assert result.exit_code == 0, result.output
    assert f"what is done is kept in {tmp_path / 'cache'}" in result.stderr
    assert "look at:" in result.stdout and sum(fitted.values()) == 4
    table = json.loads((tmp_path / "docs" / "table.json").read_text())
    assert table["protocol"]["prompts"] == ["the {}"] and len(table["cells"]) == 4
    result = run(*arguments, *chosen, "--json")
    assert json.loads(result.stdout) == table and sum(fitted.values()) == 4
    text = (tmp_path / "docs" / "table.md").read_text()
    assert "--methods cones textual_inversion --blocks 1 2 --groups 8 --num_images 1" in text


@pytest.mark.parametrize(
    ("extra", "message", "status"),
    [
        (["--methods", "cone"], "method 'cone': is unknown", 1),
        (["--blocks", "3"], "blocks: a group of 3 needs 3 subjects, found 2", 1),
        (["--blocks", "0"], "--blocks: expected at least 1, found 0", 2),
        (["--split", "3/2"], "split: expected i/n", 1),
        (["--subjects", "nowhere"], "nowhere: is no folder", 1),
        ([], "protocol 'toybox': is for models of the toybox alone, found tiny", 1),
        (["--protocol", "clip"], "protocol 'clip': is unknown", 1),
        (["--clip", "x"], "protocol 'toybox': compares by its own CLIP alone", 1),
        (["--protocol", "cones", "--clip", "nowhere"], "nowhere: cannot be opened as a CLIP", 1),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    tree: Path, tmp_path: Path, extra: list[str], message: str, status: int
) -> None:
    arguments = ["--subjects", tree, "--model", tiny_folder(), "--cache", tmp_path / "cache"]
    result = run(*arguments, "--out", tmp_path / "docs", "--blocks", 1, *extra)
    assert result.exit_code == status
    assert message in result.stderr.splitlines()[-1]
    assert not (tmp_path / "docs" / "table.json").exists()


def test_without_subjects_the_command_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("--cache", tmp_path, "--out", tmp_path, "--model", tiny_folder())
    assert result.exit_code == 2 and "--subjects: is missing;" in result.stderr
