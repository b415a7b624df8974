"""What the training recipe adds to the denoising loss."""

from pathlib import Path

import numpy as np
import torch

from cones.models.prompts import RARE_TOKENS
from cones.toybox.captions import FILLERS
from cones.toybox.models import new_unet
from cones.toybox.render import look_from_seed
from cones.toybox.tokenizer import build_tokenizer
from cones.toybox.train_unet import ClassHeads, class_map, emphasis, put_strangers, stranger_ids
from cones.toybox.world import CLASSES, sample_scene


def test_the_class_map_shows_the_nearest_thing() -> None:
    scene = sample_scene(
        np.random.default_rng(3), [("mug", look_from_seed(1)), ("dog", look_from_seed(2))], "snow"
    )
    found = class_map(scene, 16)
    assert set(np.unique(found)) == {0, 1 + CLASSES.index("mug"), 1 + CLASSES.index("dog")}
    nearest = scene.things[-1]
    assert (found[nearest.covers(16)] == 1 + CLASSES.index(nearest.noun)).all()
    assert found.any(0).sum() == emphasis(scene, 16, 3.0).max(0).tolist().count(3.0)


def test_the_class_heads_teach_the_text_projections() -> None:
    """Their loss alone reaches the projections of the text, and training lowers it."""
    torch.manual_seed(0)
    unet = new_unet((16, 32, 32), 8)
    heads = ClassHeads(unet)
    classes = torch.zeros(2, 16, 16, dtype=torch.int64)
    classes[1] = 3
    x, states = torch.randn(2, 8, 16, 16), torch.randn(2, 5, 512)
    optimizer = torch.optim.AdamW([*unet.parameters(), *heads.parameters()], lr=1e-3)
    losses = []
    for _ in range(8):
        unet(x, torch.tensor([900, 900]), states)
        loss = heads(classes, torch.ones(2, 16, 16))
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        grads = [p.grad for name, p in unet.named_parameters() if "attn2.to_v" in name]
        assert any(grad is not None and grad.abs().sum() > 0 for grad in grads)
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_strangers_take_the_place_of_fillers_only(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    fillers, strangers = stranger_ids(tokenizer)
    assert tokenizer.convert_ids_to_tokens(fillers.tolist()) == [f"{word}</w>" for word in FILLERS]
    rare = tokenizer(" ".join(RARE_TOKENS), add_special_tokens=False).input_ids
    assert not {*strangers.tolist()} & {*rare, *fillers.tolist(), *tokenizer.all_special_ids}
    captions = ["a photo of a nice robot and an old mug in the snow"] * 200
    before = tokenizer(captions, return_tensors="pt").input_ids
    ids = before.clone()
    put_strangers(ids, fillers, strangers, 0.5, torch.Generator().manual_seed(0))
    gone = ids != before
    assert torch.isin(before[gone], fillers).all()
    assert torch.isin(ids[gone], strangers).all()
    assert 150 < gone.sum() < 250  # of 400 fillers
    assert len(ids[gone].unique()) > 100
