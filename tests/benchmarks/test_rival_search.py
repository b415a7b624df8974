"""The search of the rivals' settings: results are kept and shared, the best is the best."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quick_protocol import QUICK
from tiny import tiny_folder

from benchmarks import rival_search
from benchmarks.rival_report import Setting, best, merit, race, report
from benchmarks.rival_search import GRID, runs
from cones.errors import ConesError
from cones.methods import textual_inversion
from cones.methods.method import RivalConfig
from cones.methods.registry import METHODS
from cones.search.config import FindConfig
from cones.toybox.render import look_from_seed, render_subject, save_subject


@pytest.fixture
def subjects(tmp_path: Path) -> Path:
    for seed, name in enumerate(("robot-1", "mug-1"), start=5):
        look, noun = look_from_seed(seed), name.partition("-")[0]
        save_subject(render_subject(noun, look, 2, seed), tmp_path / "subjects" / name)
    return tmp_path / "subjects"


@pytest.fixture
def run(
    subjects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Any:
    """The program on two methods, of which one diverges at one rate."""
    fits: list[RivalConfig] = []

    def fit(
        backbone: Any, subject: Any, config: RivalConfig, class_images: Any, stops: Any = None
    ) -> Any:
        fits.append(config)
        assert len(class_images[subject.class_noun]) == 2
        if config.rate == 1.0:
            raise ConesError("training: the loss became infinite")
        return textual_inversion.METHOD.fit(backbone, subject, config, stops=stops)

    quick = RivalConfig(steps=1, rate=0.1, batch=1, prior_batch=0, prior_images=2)
    monkeypatch.setitem(METHODS, "lora", replace(METHODS["lora"], defaults=quick, fit=fit))
    monkeypatch.setattr(rival_search, "GRID", {"lora": ((0.1, 1.0), (1, 2))})
    monkeypatch.setattr(rival_search, "PROTOCOL", QUICK)

    def program(*more: str) -> tuple[str, int]:
        fits.clear()
        arguments = ["--out", str(tmp_path / "docs"), "--cache", str(tmp_path / "cache")]
        arguments += ["--subjects", str(subjects), "--model", str(tiny_folder())]
        monkeypatch.setattr("sys.argv", ["rivals", *arguments, "--num_images", "1", *more])
        rival_search.main()
        return capsys.readouterr().out, len(fits)

    return program


def test_cells_are_kept_and_the_last_part_writes_the_report(run: Any, tmp_path: Path) -> None:
    told, fitted = run("--methods", "lora", "--split", "1/2")
    assert "4 results are left" in told and fitted == 2  # one for each rate
    assert not (tmp_path / "docs").exists()
    told, fitted = run("--methods", "lora", "--split", "2/2")
    assert "lora: rate 0.1, " in told and fitted == 2
    text = (tmp_path / "docs" / "rivals.md").read_text()
    assert "--only mug-1 robot-1 --num_images 1`: protocol" in text
    assert "| 1 | 2 | - | - | - | - | - |" in text and text.count("**") == 4
    kept = (tmp_path / "cache" / "rivals.jsonl").read_text()
    assert kept.count("\n") == 8
    assert run("--methods", "lora")[1] == 0
    assert (tmp_path / "cache" / "rivals.jsonl").read_text() == kept


def result(text: float | None, image: float | None = 0.5) -> dict[str, Any]:
    none = {"share": None, "drift": 0.1, "seconds": 2.0}
    return {"text_alignment": text, "image_alignment": image, **none}


def test_the_best_setting_has_the_greatest_sum_on_all_subjects() -> None:
    low, high, wild = (Setting("lora", RivalConfig(steps=1, rate=rate)) for rate in (0.1, 0.2, 0.3))
    other = Setting("dreambooth", RivalConfig(steps=1, rate=0.1))
    results = {
        low: [result(0.2), result(0.2)],
        high: [result(0.1), result(0.4)],
        wild: [result(0.9), result(None, None)],
        other: [result(0.0), result(0.0)],
    }
    assert best(results) == {"lora": high, "dreambooth": other}
    assert merit(results[high]) == pytest.approx(0.75)
    assert "| **0.2** | **1** | 0.2500 ± 0.1500 | 0.5000 ± 0.0000 | 0.7500 | - |" in report(
        results, ["a", "b"], 4, QUICK
    )


def test_the_race_is_against_the_setting_with_the_best_mean_image_alignment() -> None:
    def timed(image: float | None, seconds: float) -> dict[str, Any]:
        return result(0.5, image) | {"seconds": seconds}

    rivals = [
        Setting("custom_diffusion", RivalConfig(steps=steps, rate=0.1)) for steps in (1, 2, 3)
    ]
    soon, late = (Setting("cones", FindConfig(steps=steps)) for steps in (25, 50))
    results = {
        rivals[0]: [timed(0.9, 40.0), timed(0.5, 40.0)],
        rivals[1]: [timed(0.7, 80.0), timed(0.8, 80.0)],
        rivals[2]: [timed(0.9, 9.0), result(None, None)],
        soon: [timed(0.6, 20.0), timed(0.7, 20.0)],
        late: [timed(0.8, 40.0), timed(0.9, 20.0)],
    }
    text = race(results)
    assert "That is 0.7500, at rate 0.1 after 2 steps." in text
    assert "| 25 | -0.1000 ± 0.0000 | +0.0000 ± 0.0000 | 0.25 ± 0.00 |" in text
    assert "| 50 | +0.1000 ± 0.0000 | +0.0000 ± 0.0000 | 0.38 ± 0.12 |" in text


def test_settings_that_differ_in_their_steps_share_a_fit_but_not_a_search() -> None:
    rivals = [
        Setting("lora", RivalConfig(steps=steps, rate=rate))
        for rate in (0.1, 0.2)
        for steps in (9, 3)
    ]
    ours = [Setting("cones", FindConfig(steps=steps)) for steps in (50, 25)]
    found = runs([*rivals, *ours])
    assert [[each.config.steps for each in run] for run in found] == [[3, 9], [3, 9], [25], [50]]


def test_every_method_is_searched() -> None:
    assert GRID.keys() == METHODS.keys()
