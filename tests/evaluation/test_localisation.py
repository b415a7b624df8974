"""How well a map separates a subject: the figures, and both maps on renders."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from some_neurons import MUG, ROBOT, some_neurons
from torch import nn

from cones.errors import InputError
from cones.evaluation import localisation
from cones.evaluation.localisation import auroc, best_iou, localise
from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.sampling.attention import (
    AttentionMaps,
)
from cones.toybox.reference import RENDERS

PHOTOS = Path(__file__).parents[2] / "examples" / "subjects" / "dev" / "robot-2"


@pytest.fixture(scope="module")
def robot(backbone: Backbone) -> ConceptNeurons:
    return some_neurons(backbone, ROBOT)


@st.composite
def scored(draw: st.DrawFn) -> tuple[list[float], list[bool]]:
    """Scores with many ties, and a mask with something in and outside it."""
    inside, outside = (
        draw(st.lists(st.integers(0, 4).map(float), min_size=1, max_size=8)) for _ in "ab"
    )
    return inside + outside, [True] * len(inside) + [False] * len(outside)


@given(scored())
def test_figures_are_those_of_a_brute_force_count(given: tuple[list[float], list[bool]]) -> None:
    scores, mask = given
    inside = [score for score, is_in in zip(scores, mask, strict=True) if is_in]
    outside = [score for score, is_in in zip(scores, mask, strict=True) if not is_in]
    wins = [(a > b) + (a == b) / 2 for a, b in product(inside, outside)]
    assert auroc(scores, np.array(mask)) == pytest.approx(np.mean(wins))
    ious = [
        sum(a >= least for a in inside) / (len(inside) + sum(b >= least for b in outside))
        for least in scores
    ]
    assert best_iou(scores, np.array(mask)) == pytest.approx(max(ious))


def test_what_has_no_figure_is_refused() -> None:
    scores = np.zeros((2, 2))
    for figure in (auroc, best_iou):
        for inside, found in ((True, "all"), (False, "none")):
            with pytest.raises(InputError, match=f"inside and outside, found {found} inside"):
                figure(scores, np.full((2, 2), inside))
        with pytest.raises(InputError, match=r"mask: expected the shape \[2, 2\] of the map"):
            figure(scores, np.ones(3, dtype=bool))
        with pytest.raises(InputError, match="map: expected finite numbers, found NaN"):
            figure([0.0, np.nan], np.array([True, False]))


def test_nothing_shut_gains_nothing(backbone: Backbone, robot: ConceptNeurons) -> None:
    nothing = ConceptNeurons(robot.shapes, {}, subjects=(ROBOT,))
    found = localise(backbone, nothing, PHOTOS, RENDERS, num=3, timesteps=[200])
    assert [each.word for each in found] == ["sks", "robot"]
    for each in found:
        assert each.auroc.gain == each.iou.gain == (0.0, 0.0)
        assert each.auroc.before == each.auroc.after
    again = localise(backbone, robot, PHOTOS, RENDERS, num=3, timesteps=[200])
    assert again[0].auroc.before == found[0].auroc.before
    assert again[0].auroc.gain[0] == pytest.approx(
        again[0].auroc.after[0] - again[0].auroc.before[0]
    )
    assert again[0].auroc.gain[0] != 0


def test_maps_are_held_against_the_subjects_mask(
    backbone: Backbone, robot: ConceptNeurons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps that know the mask: the token's then scores high, the noun's low, after shutting."""
    known = RENDERS.read(PHOTOS)
    assert known is not None
    masks = [torch.from_numpy(mask) for _, mask in RENDERS.draw_masked(known, 4, 0)]

    def knowing(*given: Any) -> Iterator[AttentionMaps]:
        image, shut = Image.new("RGB", (64, 64)), given[3] is not None
        for mask in masks:
            coarse = nn.functional.avg_pool2d(mask[None].float(), 4)[0]
            words = torch.stack([*[torch.zeros(16, 16)] * 4, coarse, 1 - coarse])
            yield AttentionMaps(("a", "photo", "of", "a", "sks", "robot"), words * shut, image)

    monkeypatch.setattr(localisation, "photo_maps", lambda *given: list(knowing(*given)))
    token, noun = localise(backbone, robot, PHOTOS, RENDERS, num=4)
    assert token.auroc.before == noun.auroc.before == (0.5, 0.0)
    assert token.auroc.after[0] > 0.97 and token.iou.after[0] > 0.8
    assert noun.auroc.after[0] < 0.03


def test_what_cannot_be_localised_is_refused(
    backbone: Backbone, robot: ConceptNeurons, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="expected the look of a rendered subject, found none"):
        localise(backbone, robot, tmp_path, RENDERS)
    with pytest.raises(InputError, match="shows a robot, the neurons are of a mug; name the"):
        localise(backbone, some_neurons(backbone, MUG), PHOTOS, RENDERS)
    with pytest.raises(InputError, match="those of one subject to localise, found sks, zas"):
        localise(backbone, some_neurons(backbone, ROBOT, MUG), PHOTOS, RENDERS)
    with pytest.raises(InputError, match="num: expected 1 to 10000, found 0"):
        localise(backbone, robot, PHOTOS, RENDERS, num=0)
