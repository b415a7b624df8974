"""Features of pictures and texts, by tiny networks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cones.errors import InputError
from cones.evaluation import (
    ClipFeatures,
)
from cones.evaluation.dino import DinoFeatures
from cones.models.images import to_tensor
from cones.toybox.models import new_clip, new_text_tower
from cones.toybox.render import look_from_seed, render_subject
from cones.toybox.tokenizer import build_tokenizer
from cones.toybox.world import SIZE


def test_clip_features_are_unit_vectors_and_do_not_depend_on_the_batch(clip: Path) -> None:
    pictures = list(render_subject("cat", look_from_seed(1), 5, 1).images)
    texts = ["a cat", "a photo of a robot in the snow", "a mug"]
    at_once, by_two = ClipFeatures(clip), ClipFeatures(clip, batch=2)
    for found, parts in (
        (at_once.images(pictures), by_two.images(pictures)),
        (at_once.texts(texts), by_two.texts(texts)),
    ):
        assert found.dtype == torch.float32 and found.shape[1] == 8
        assert torch.allclose(found.norm(dim=1), torch.ones(len(found)))
        assert torch.allclose(found, parts, atol=1e-6)
    assert len(at_once.images(pictures)) == 5 and len(at_once.texts(texts)) == 3


def test_a_clip_without_a_preprocessor_reads_pictures_as_a_base_model_does(clip: Path) -> None:
    picture = render_subject("cat", look_from_seed(1), 1, 1).images[0]
    preprocess = ClipFeatures(clip).preprocess
    assert torch.equal(preprocess([picture]), to_tensor(np.asarray(picture)[None]))
    assert preprocess([picture.resize((90, 70))]).shape == (1, 3, SIZE, SIZE)


def test_a_clip_with_a_preprocessor_uses_it(clip: Path, tmp_path: Path) -> None:
    for path in clip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    features = ClipFeatures(tmp_path)
    white = features.preprocess([Image.new("RGB", (80, 80), "white")])
    assert torch.equal(white, torch.ones(1, 3, SIZE, SIZE))
    assert features.images([Image.new("RGB", (200, 100))]).shape == (1, 8)


def test_a_missing_clip_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened as a CLIP") as caught:
        ClipFeatures(tmp_path / "none")
    assert "\n" not in str(caught.value)


def test_a_clip_with_convolutions_serves_too(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    new_clip(tokenizer).save_pretrained(tmp_path)
    features = ClipFeatures(tmp_path)
    assert features.images([Image.new("RGB", (80, 64))]).shape == (1, 256)
    assert features.texts(["a robot", "a mug"]).shape == (2, 256)


def test_a_model_that_is_no_clip_is_one_line(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    new_text_tower(tokenizer).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected a CLIP, found CLIPTextModel"):
        ClipFeatures(tmp_path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "I;16", "CMYK"])
def test_features_see_pictures_of_every_mode_as_people_do(
    clip: Path, dino: Path, mode: str
) -> None:
    white = Image.new("RGB", (40, 40), "white")
    given = Image.new("I;16", (40, 40), 65535) if mode == "I;16" else white.convert(mode)
    if mode in ("RGBA", "LA"):
        given = Image.new(mode, (40, 40))  # black, and wholly transparent
    for features in (ClipFeatures(clip), DinoFeatures(dino)):
        assert torch.equal(features.images([given]), features.images([white]))


def test_what_is_no_picture_is_one_line(clip: Path) -> None:
    for given in ([], ["photo.png"], [None], [Image.new("RGB", (0, 3))], [np.zeros((4, 4, 3))]):
        with pytest.raises(InputError, match=r"^(pictures|features)"):
            ClipFeatures(clip).images(given)  # type: ignore[arg-type]


def test_a_clip_that_lacks_weights_is_refused(clip: Path, tmp_path: Path) -> None:
    for path in clip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "logit_scale": torch.tensor(1.0)}, tmp_path / "model.safetensors")
    assert ClipFeatures(tmp_path)
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 weights, such as visual_projection\.weight"):
        ClipFeatures(tmp_path)


def test_a_clip_with_damaged_weights_gives_no_scores(clip: Path) -> None:
    features = ClipFeatures(clip)
    features.model.visual_projection.weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="gives features that are NaN, infinite or zero; load an"):
        features.images([Image.new("RGB", (8, 8))])
