"""What the tests of the toybox share."""

from pathlib import Path

import pytest

from cones.toybox.render import look_from_seed, render_subject, save_subject


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_subject(render_subject("robot", look_from_seed(3), 3, 3), tmp_path / "robot")
    return tmp_path / "robot"
