"""The demonstration makes its files and says where they are (the gate judges what they show)."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from tiny import tiny_pipeline
from typer.testing import CliRunner

from cones.cli.demo import PHOTOS, SCENES, demonstrate
from cones.cli.opening import Opening
from cones.cli.program import app
from cones.errors import InputError
from cones.models.loading import load_backbone
from cones.neurons.neuronfile import load
from cones.search.config import FindConfig

QUICK = FindConfig(steps=2, batch=2, prior_batch=2, prior_images=2)


def test_the_demonstration_makes_its_files(tmp_path: Path) -> None:
    steps: Counter[str] = Counter()
    backbone = load_backbone(tiny_pipeline())
    made = demonstrate(tmp_path, backbone, QUICK, lambda stage, *_: steps.update([stage]))
    assert len(list(made.photos.glob("*.png"))) == PHOTOS
    assert load(made.file) == made.neurons
    assert [(s.token, s.class_noun) for s in made.neurons.subjects] == [("sks", "robot")]
    sheet = Image.open(made.sheet)
    assert sheet.width > len(SCENES) * 128 and sheet.height > 3 * 128
    assert steps["draw the base model"] == steps["draw with neurons shut"] == len(SCENES)
    again = demonstrate(tmp_path, backbone, QUICK)
    assert load(again.file) == made.neurons


def test_the_command_says_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(tiny_pipeline())
    monkeypatch.setattr(Opening, "backbone", lambda _: backbone)
    monkeypatch.setattr(sys.modules["cones.search.config"], "FindConfig", lambda: QUICK)
    told = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert f"look at: {tmp_path / 'contact_sheet.png'}\n" in told.stdout
    assert f"neuron file: {tmp_path / 'robot.cones.safetensors'}\n" in told.stdout
    listed = CliRunner().invoke(app, ["demo", "--out", str(tmp_path), "--json"])
    figures = json.loads(listed.stdout)
    assert figures["bytes"] == Path(figures["file"]).stat().st_size
    assert figures["density"] == pytest.approx(QUICK.density, abs=1e-3)


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").touch()
    with pytest.raises(InputError, match="is no folder that can be written"):
        demonstrate(tmp_path / "demo", load_backbone(tiny_pipeline()), QUICK)
