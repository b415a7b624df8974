"""The evidence: results are kept, shared and reported; timings are of something."""

import json
from pathlib import Path

import pytest
from quick_protocol import QUICK
from tiny import tiny_folder, tiny_pipeline

from benchmarks import evidence, report, speed
from benchmarks.command import arguments
from cones.methods.controls import random_neurons
from cones.models.loading import load_backbone
from cones.search.config import FindConfig
from cones.toybox.render import look_from_seed, render_subject, save_subject


@pytest.fixture
def subjects(tmp_path: Path) -> Path:
    for seed, name in enumerate(("robot-1", "mug-1"), start=5):
        noun = name.partition("-")[0]
        save_subject(
            render_subject(noun, look_from_seed(seed), 2, seed), tmp_path / "subjects" / name
        )
    return tmp_path / "subjects"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows without a search, by a protocol without a network."""
    everything = evidence.rows()
    few = {
        "base": everything["base"],
        "random": evidence.control("random", random_neurons, density=0.2, seed=0),
        "decoded": everything["decoded"],
        "renders": everything["renders"],
    }
    monkeypatch.setattr(evidence, "rows", lambda: few)
    monkeypatch.setattr(evidence, "PROTOCOL", QUICK)


def test_every_row_has_the_same_density_and_its_own_settings() -> None:
    settings = [json.dumps(row.settings, sort_keys=True) for row in evidence.rows().values()]
    assert len(set(settings)) == len(settings)
    densities = {row.settings.get("density") for row in evidence.rows().values()} - {None}
    assert densities == {FindConfig().density, "auto"}


@pytest.mark.usefixtures("quick")
def test_results_are_kept_and_the_last_part_writes_the_report(
    subjects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def run(*more: str) -> str:
        arguments = ["--out", str(tmp_path / "docs"), "--cache", str(tmp_path / "cache")]
        arguments += ["--subjects", str(subjects), "--model", str(tiny_folder())]
        monkeypatch.setattr("sys.argv", ["evidence", *arguments, "--num_images", "1", *more])
        evidence.main()
        return capsys.readouterr().out

    assert "4 results are left" in run("--split", "1/2")
    assert not (tmp_path / "docs").exists()
    assert run("--split", "2/2").count("robot-1") == 4
    text = (tmp_path / "docs" / "evidence.md").read_text()
    assert "2 test subjects (mug-1, robot-1)" in text and "| random | " in text
    assert (tmp_path / "docs" / "evidence.png").stat().st_size > 1000
    kept = (tmp_path / "cache" / "evidence.jsonl").read_text()
    assert len([*(tmp_path / "cache" / "evidence").iterdir()]) == 8  # pictures of both subjects
    assert run() == ""
    assert (tmp_path / "cache" / "evidence.jsonl").read_text() == kept
    found = [json.loads(line) for line in kept.splitlines()]
    assert len(found) == 8
    assert {each["row"] for each in found} == {"base", "random", "decoded", "renders"}


@pytest.mark.usefixtures("quick")
def test_other_photographs_or_prompts_are_other_results(subjects: Path, tmp_path: Path) -> None:
    one, two = (
        evidence.Evidence(str(tiny_folder()), subjects, count, tmp_path) for count in (1, 2)
    )
    row = evidence.rows()["base"]
    keys = [one.key(one.folders[0], row), two.key(two.folders[0], row)]
    (one.folders[0] / "00.png").write_bytes((one.folders[0] / "01.png").read_bytes())
    keys.append(one.key(one.folders[0], row))
    assert len(set(keys)) == 3


def test_the_table_gives_means_and_standard_errors() -> None:
    none = {"drift": None, "strength": 1.0, "density": 0.05, "bytes": 1234, "seconds": None}
    base = [
        {"text_alignment": text, "image_alignment": 0.5, "share": 0.0, **none}
        for text in (0.1, 0.3)
    ]
    better = [{**each, "text_alignment": each["text_alignment"] + 0.2} for each in base]
    results = {"base": base, "better": better}
    text = report.table({"base": "floor", "better": "ours"}, results)
    assert "| floor | 0.2000 ± 0.1000 | 0.5000 ± 0.0000 | 0.00 ± 0.00 | - | 1.00 | 5.0% |" in text
    assert "| 1,234 | - |" in text
    assert "| ours | +0.2000 ± 0.0000 | +0.0000 ± 0.0000 |" in report.paired(
        {"base": "floor", "better": "ours"}, results
    )


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", ""])
def test_a_wrong_part_is_refused(text: str, capsys: pytest.CaptureFixture) -> None:
    parser = arguments("evidence", None, "a report", Path("subjects"))
    with pytest.raises(SystemExit):
        parser.parse_args(["--out", "docs", "--split", text])
    assert "argument --split: " in capsys.readouterr().err
    assert parser.parse_args(["--out", "docs", "--split", "2/3"]).split == (1, 3)


def test_a_forward_pass_is_timed() -> None:
    backbone = load_backbone(tiny_pipeline())
    assert 0 < speed.forward_seconds(backbone, 2, repeats=1) < 10
