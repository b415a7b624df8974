"""What `--report_to` logs, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import typer
from command_line import QUICK, of, passes
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cones.cli.reporting import Report, reporting


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(2):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / f"{k}.png")
    return folder


def test_a_search_is_logged_to_tensorboard(photos: Path, tmp_path: Path) -> None:
    out, logs = tmp_path / "robot.cones.safetensors", tmp_path / "logs"
    options = ("--report_to", "tensorboard", "--logging_dir", logs)
    passes("find", *QUICK, *of(photos), *options, "--out", out)
    events = EventAccumulator(str(logs / out.name)).Reload()
    tags = events.Tags()
    assert {"search/subject", "search/prior", "held out/subject"} <= set(tags["scalars"])
    assert any(tag.startswith("density/") for tag in tags["scalars"])
    assert [event.step for event in events.Scalars("search/subject")] == [1, 2]
    assert len(events.Images("validation")) == 1


def test_no_report_changes_nothing() -> None:
    seen: list[int] = []

    def on_progress(_: str, done: int, *__: object) -> None:
        seen.append(done)

    assert Report().beside(on_progress) is on_progress
    with reporting("none", Path("never"), "run", {}) as report:
        report.pictures([])
    assert not Path("never").exists()


def test_a_missing_tracker_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import utils

    monkeypatch.setattr(utils, "is_wandb_available", lambda: False)
    with (
        pytest.raises(typer.BadParameter, match="wandb: is not installed; pip install wandb"),
        reporting("wandb", Path("logs"), "run", {}),
    ):
        pass
