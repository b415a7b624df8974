"""Stage 3: toybox-clip, which scores pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import CLIPModel, CLIPTokenizer

from cones.toybox.captions import full_caption
from cones.toybox.data import scene_at, to_tensor
from cones.toybox.models import new_clip
from cones.toybox.tokenizer import MAX_LENGTH
from cones.toybox.training import Average, Loop, set_rate, warm_up_and_decay
from cones.toybox.world import ACCESSORIES, CLASSES, COLOURS, PATTERNS, PLACES, SIZE, Scene

ATTRIBUTES = [
    *(("class", c) for c in CLASSES), *(("place", p) for p in PLACES),
    *(("main", c) for c in COLOURS), *(("second", c) for c in COLOURS),
    *(("pattern", p) for p in PATTERNS), *(("accessory", a) for a in ACCESSORIES),
]  # fmt: skip
_NUMBER = {attribute: k for k, attribute in enumerate(ATTRIBUTES)}


def attributes(scene: Scene) -> np.ndarray:
    """Which attributes occur in a scene: float32 `[len(ATTRIBUTES)]` of zeros and ones."""
    found = np.zeros(len(ATTRIBUTES), np.float32)
    found[_NUMBER["place", scene.place]] = 1
    for thing in scene.things:
        found[_NUMBER["class", thing.noun]] = 1
        for kind in ("main", "second", "pattern", "accessory"):
            found[_NUMBER[kind, getattr(thing.look, kind)]] = 1
    return found


PATCH = 8
_ON_PATCHES = [k for k, (kind, _) in enumerate(ATTRIBUTES) if kind not in ("place", "accessory")]


def patch_attributes(scene: Scene) -> np.ndarray:
    """Which attributes the thing on each patch has: float32 `[patches, len(_ON_PATCHES)]`."""
    side = SIZE // PATCH
    found = np.zeros((side, side, len(ATTRIBUTES)), np.float32)
    for thing in scene.things:  # the nearest last: it covers the others
        own = np.zeros(len(ATTRIBUTES), np.float32)
        own[_NUMBER["class", thing.noun]] = 1
        for kind in ("main", "second", "pattern"):
            own[_NUMBER[kind, getattr(thing.look, kind)]] = 1
        found[thing.covers(side)] = own
    return found.reshape(side * side, -1)[:, _ON_PATCHES]


def blurred(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Half of the batches a little blurred or noised, so that embeddings do not see that."""
    if rng.random() < 0.5:
        weight = float(rng.uniform(0, 0.8))
        soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = (1 - weight) * x + weight * soft
    if rng.random() < 0.5:
        noise = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
        x = x + float(rng.uniform(0, 0.08)) * noise
    return x


def train_clip(
    config: dict[str, Any],
    images: np.ndarray,
    seed: int,
    tokenizer: CLIPTokenizer,
    folder: Path,
    start: CLIPModel | None = None,
) -> CLIPModel:
    """Trains toybox-clip, or goes on with it.

    The contrastive loss of CLIP, plus two auxiliary losses that shorten the training several
    times: linear layers (dropped afterwards) find all attributes of the picture in its embedding
    and, from step `dense_from` on, those of the thing on each patch in the patch's state.
    """
    torch.manual_seed(0)
    clip = new_clip(tokenizer)
    if start is not None:
        clip.load_state_dict(start.state_dict())
    probe = torch.nn.Linear(clip.config.projection_dim, len(ATTRIBUTES))
    dense = torch.nn.Linear(clip.config.vision_config.hidden_size, len(_ON_PATCHES))
    parameters = [*clip.parameters(), *probe.parameters()]
    matrices = [p for p in parameters if p.ndim > 1 and p.shape[0] != len(tokenizer)]
    others = [p for p in parameters if p.ndim <= 1 or p.shape[0] == len(tokenizer)]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=config["rate"],
        betas=(0.9, 0.98),
    )
    dense_optimizer = torch.optim.AdamW(dense.parameters(), lr=config["rate"])
    average = Average(clip, 0.995)
    state = {
        "clip": clip, "probe": probe, "dense": dense, "opt": optimizer,
        "dense_opt": dense_optimizer, "ema": average,
    }  # fmt: skip

    def step(k: int) -> dict[str, float]:
        rng = np.random.default_rng([12, k])
        with_dense = k >= config["dense_from"]
        batch = config["dense_batch"] if with_dense else config["batch"]
        indices = np.sort(rng.choice(len(images), batch, replace=False))
        scenes = [scene_at(seed, int(i)) for i in indices]
        captions = [full_caption(scene, rng) for scene in scenes]
        tokens = tokenizer(
            captions, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        )
        wanted = torch.from_numpy(np.stack([attributes(scene) for scene in scenes]))
        x = blurred(to_tensor(images[indices]), rng)
        rate = config["rate"] * warm_up_and_decay(k, config["steps"])
        set_rate(optimizer, rate)
        set_rate(dense_optimizer, rate)
        with torch.autocast("cpu", torch.bfloat16):
            out = clip(input_ids=tokens.input_ids, pixel_values=x)
            guessed = probe(out.vision_model_output.pooler_output)
            patches = dense(out.vision_model_output.last_hidden_state[:, 1:])
        logits = out.logits_per_image.float()
        target = torch.arange(len(x))
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        named = F.binary_cross_entropy_with_logits(guessed.float(), wanted)
        loss = contrast + 3.0 * named
        figures = {"contrast": contrast, "named": named}
        if with_dense:
            on_patches = torch.from_numpy(np.stack([patch_attributes(scene) for scene in scenes]))
            seen = F.binary_cross_entropy_with_logits(patches.float(), on_patches)
            loss = loss + 10.0 * seen
            figures["seen"] = seen
        optimizer.zero_grad(set_to_none=True)
        dense_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        dense_optimizer.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(max=4.6052)
        average.update(k)
        figures["right"] = (logits.argmax(1) == target).float().mean()
        return {key: value.item() for key, value in figures.items()}

    Loop(folder, "clip", config["steps"], state).run(step)
    average.write()
    return clip.eval()
