"""Scores of pictures, by features without a network."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from PIL import Image
from quick_protocol import QUICK, Colours
from torch import Tensor

from cones.evaluation import (
    Scorer,
)


def test_scores_have_standard_errors_over_the_prompts() -> None:
    black, white = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")
    red = Image.new("RGB", (4, 4), "red")
    scorer = Scorer(QUICK, [[red]], ["robot"])
    found = scorer.score([red, red, white, black], ["a", "a", "bb", "bb"])
    grey = float((Colours().images([white]) @ Colours().images([red]).T).item())
    assert found.image_alignment == pytest.approx((1 + grey) / 2)
    assert found.image_se == pytest.approx((1 - grey) / 2)
    assert scorer.score([red], ["a"]).image_se is None


class Kinds(Colours):
    """Red is a robot, green a mug, blue a car; other texts are of no colour."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        colours = {"robot": (1, 0, 0), "mug": (0, 1, 0), "car": (0, 0, 1)}
        found = [colours.get(text.removeprefix("a photo of a "), (0, 0, 0)) for text in texts]
        return torch.tensor(found).float()


def test_a_subject_is_present_where_its_class_is_seen() -> None:
    red, green = (Image.new("RGB", (4, 4), colour) for colour in ("red", "green"))
    scorer = Scorer(replace(QUICK, features=Kinds, nouns=("mug", "car")), [[red]], ["robot"])
    assert scorer.score([red, green], ["a robot"] * 2).presence == 0.5
    assert scorer.score([green], ["a robot and a mug"]).presence == 1  # red ties with blue
    assert scorer.score([red], ["a robot"]).as_dict().keys() == {
        "text_alignment", "image_alignment", "presence"
    }  # fmt: skip
