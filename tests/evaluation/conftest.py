"""What the tests of the evaluation share: a tiny model, photographs, a CLIP and a DINO."""

import json
from pathlib import Path

import pytest
from tiny import tiny_pipeline

from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.toybox.render import look_from_seed, render_subject, save_subject
from cones.toybox.tokenizer import build_tokenizer
from cones.toybox.world import SIZE


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_subject(render_subject("robot", look_from_seed(3), 3, 3), tmp_path / "robot")
    return tmp_path / "robot"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random CLIP with the toybox's tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = build_tokenizer(folder)
    tokenizer.save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "projection_dim": 8}
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    text = {**small, **heads, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 32}
    vision = {**small, **heads, "image_size": SIZE, "patch_size": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random DINO."""
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("dino")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = ViTConfig(**small, num_attention_heads=2, image_size=SIZE, patch_size=16)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
