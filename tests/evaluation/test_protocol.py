"""Protocols: their prompts and their names."""

from pathlib import Path

import pytest

from cones.errors import InputError
from cones.evaluation import (
    named_protocol,
)
from cones.evaluation.protocol import check_prompts, fill_prompt


@pytest.mark.parametrize("prompt", ["a photo of a sks robot", "a {other}", ""])
def test_a_prompt_without_the_subject_is_refused(prompt: str) -> None:
    with pytest.raises(InputError, match="where the subject is to stand"):
        check_prompts([prompt])


@pytest.mark.parametrize("prompt", ["a {} on {place}", "a {} and {0.x}", "a {} {", "{} {}"])
def test_other_braces_are_refused(prompt: str) -> None:
    with pytest.raises(InputError, match="braces"):
        fill_prompt(prompt, "sks robot", ["robot"])


def test_no_prompts_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        check_prompts([])


def test_an_other_thing_is_no_subject() -> None:
    assert fill_prompt("a {} and a {other}", "x", ["robot"]) == "a x and a mug"
    assert fill_prompt("a {} and a {other}", "x", ["mug", "robot"]) == "a x and a car"


def test_a_protocol_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of toybox, cones, custom-diffusion"):
        named_protocol("clip")
    with pytest.raises(InputError, match="compares by its own CLIP alone"):
        named_protocol("toybox", clip=str(tmp_path))
    protocol = named_protocol("custom-diffusion", str(tmp_path), str(tmp_path))
    with pytest.raises(InputError, match="cannot be opened as a CLIP"):
        protocol.features()
    assert protocol.dino is not None
    with pytest.raises(InputError, match="cannot be opened as a DINO"):
        protocol.dino()


def test_scores_say_by_which_networks(clip: Path, dino: Path) -> None:
    features = {
        named_protocol("cones", str(clip), str(dino)).as_dict()["features"],
        named_protocol("cones", str(clip), str(dino)).as_dict()["features"],
        named_protocol("toybox").as_dict()["features"],
    }
    assert len(features) == 2
