"""Commands that are killed at random moments leave nothing damaged, and nothing for long."""

import os

import pytest
from tiny import tiny_folder

from benchmarks import kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.slow
def test_kills_damage_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    kills.main(["--model", str(tiny_folder()), "--kills", "8"])
    assert capsys.readouterr().out.startswith("8 kills: nothing damaged, ")
