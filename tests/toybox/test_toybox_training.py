"""What the training recipe adds to the denoising loss."""

from pathlib import Path

import numpy as np
import torch

from cones.models.prompts import RARE_TOKENS
from cones.toybox.captions import FILLERS
from cones.toybox.models import new_text_tower, new_unet
from cones.toybox.render import look_from_seed
from cones.toybox.tokenizer import build_tokenizer
from cones.toybox.train_unet import (
    ATTRIBUTES,
    AttributeHeads,
    attribute_maps,
    common_captions,
    emphasis,
    put_strangers,
    read_new_states,
    stranger_ids,
    words_only,
)
from cones.toybox.world import CLASSES, sample_scene


def test_attribute_maps_show_the_nearest_thing() -> None:
    scene = sample_scene(
        np.random.default_rng(3), [("mug", look_from_seed(1)), ("dog", look_from_seed(2))], "snow"
    )
    found = attribute_maps(scene, 16)
    assert found.shape == (len(ATTRIBUTES), 16, 16)
    assert set(np.unique(found[0])) == {0, 1 + CLASSES.index("mug"), 1 + CLASSES.index("dog")}
    nearest = scene.things[-1]
    look = nearest.look
    values = (nearest.noun, look.main, look.second, look.pattern, look.accessory)
    for numbers, kind, value in zip(found, ATTRIBUTES, values, strict=True):
        assert (numbers[nearest.covers(16)] == 1 + list(kind).index(value)).all()
    assert found[0].any(0).sum() == emphasis(scene, 16, 3.0).max(0).tolist().count(3.0)


def test_the_heads_teach_the_text_projections() -> None:
    """Their loss alone reaches the projections of the text, and training lowers it."""
    torch.manual_seed(0)
    unet = new_unet((16, 32, 32), 8)
    heads = AttributeHeads(unet)
    found = torch.zeros(2, len(ATTRIBUTES), 16, 16, dtype=torch.int64)
    found[1] = 3
    x, states = torch.randn(2, 8, 16, 16), torch.randn(2, 5, 512)
    optimizer = torch.optim.AdamW([*unet.parameters(), *heads.parameters()], lr=1e-3)
    losses = []
    for _ in range(8):
        unet(x, torch.tensor([900, 900]), states)
        loss = heads(found, torch.ones(2, 16, 16))
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        grads = [p.grad for name, p in unet.named_parameters() if "attn2.to_v" in name]
        assert any(grad is not None and grad.abs().sum() > 0 for grad in grads)
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_in_a_share_of_the_captions_only_words_are_seen() -> None:
    ids = torch.tensor([[0, 5, 6, 9, 9, 9]] * 1000)
    seen = words_only(ids, 9, 0.6, torch.Generator().manual_seed(0))
    assert seen[:, :3].all()
    hidden = ~seen[:, 3:]
    assert torch.equal(hidden.all(1), hidden.any(1))
    assert 550 < hidden.all(1).sum() < 650


def test_a_unet_reads_the_states_of_a_new_tower(tmp_path: Path) -> None:
    """A tower whose states are a rotation of the old one's: the UNet predicts as before."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(tmp_path)
    old, new = new_text_tower(tokenizer).eval(), new_text_tower(tokenizer).eval()
    new.load_state_dict(old.state_dict())
    rotation = torch.linalg.qr(torch.randn(512, 512))[0]
    new.register_forward_hook(
        lambda _, __, out: out.__setitem__("last_hidden_state", out.last_hidden_state @ rotation)
    )
    unet = new_unet((16, 32, 32), 8).eval()
    captions = common_captions((tokenizer, tokenizer), 1, 300)
    ids = tokenizer(captions[:2], padding=True, return_tensors="pt").input_ids
    x, t = torch.randn(2, 8, 16, 16), torch.tensor([900, 100])
    with torch.no_grad():
        before = unet(x, t, old(ids).last_hidden_state).sample
        confused = unet(x, t, new(ids).last_hidden_state).sample
        read_new_states(unet, (old, new), (tokenizer, tokenizer), captions)
        after = unet(x, t, new(ids).last_hidden_state).sample
    assert (after - before).norm() < 0.1 * (confused - before).norm()


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
