"""benchmarks.figures: the paper's figures over a few subjects, cell by cell."""

from pathlib import Path

import pytest
from quick_methods import fitted, tree
from quick_protocol import QUICK
from tiny import tiny_folder

from benchmarks import figures
from cones.comparison import entries

__all__ = ["fitted", "tree"]  # fixtures


@pytest.mark.usefixtures("fitted")
def test_all_is_measured_once_and_the_last_part_writes_the_report(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(figures, "TUNING", entries.TUNING)
    monkeypatch.setattr(figures, "PROTOCOL", QUICK)

    def run(*more: str) -> str:
        arguments = ["--out", str(tmp_path / "docs"), "--cache", str(tmp_path / "cache")]
        arguments += ["--subjects", str(tree), "--model", str(tiny_folder())]
        monkeypatch.setattr(
            "sys.argv", ["figures", *arguments, "--groups", "1", "--num", "2", *more]
        )
        figures.main()
        return capsys.readouterr().out

    assert "results are left" in run("--split", "1/2")
    assert not (tmp_path / "docs").exists()
    run("--split", "2/2")
    text = (tmp_path / "docs" / "figures.md").read_text()
    kept = (tmp_path / "cache" / "figures.jsonl").read_text()
    assert kept.count("\n") == 2 + 1 + 2
    assert "2 subjects (mug-1, robot-1)" in text and "Two subjects, 1 pairs" in text
    for name in ("token | AUROC", "noun | best IoU", "| base model | 0 |", "| quaternary |"):
        assert name in text
    assert run() == ""
    assert (tmp_path / "docs" / "figures.md").read_text() == text
