"""Stage 3: toybox-clip, which scores pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, VisionTextDualEncoderModel

from cones.models.images import to_tensor
from cones.toybox.captions import caption
from cones.toybox.data import scene_at
from cones.toybox.models import VISION_WIDTHS, new_clip
from cones.toybox.tokenizer import MAX_LENGTH
from cones.toybox.training import Average, Loop, warm_up_and_decay
from cones.toybox.world import ACCESSORIES, CLASSES, COLOURS, PATTERNS, PLACES, Scene

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


CELLS = 8  # a side of the grid of the dense loss: that of the vision tower's second stage
_ON_CELLS = [k for k, (kind, _) in enumerate(ATTRIBUTES) if kind not in ("place", "accessory")]


def cell_attributes(scene: Scene) -> np.ndarray:
    """Which attributes the thing on each cell has: float32 `[len(_ON_CELLS), CELLS, CELLS]`."""
    found = np.zeros((CELLS, CELLS, len(ATTRIBUTES)), np.float32)
    for thing in scene.things:  # the nearest last: it covers the others
        own = np.zeros(len(ATTRIBUTES), np.float32)
        own[_NUMBER["class", thing.noun]] = 1
        for kind in ("main", "second", "pattern"):
            own[_NUMBER[kind, getattr(thing.look, kind)]] = 1
        found[thing.covers(CELLS)] = own
    return found[:, :, _ON_CELLS].transpose(2, 0, 1)


PROBES = [*(f"a photo of a {noun}" for noun in CLASSES), *PLACES.values()]


def probed(scene: Scene) -> np.ndarray:
    """Which of `PROBES` tell of a scene: float32 `[len(PROBES)]`, each kind's shares sum to 1."""
    classes = np.array([noun in {thing.noun for thing in scene.things} for noun in CLASSES])
    places = np.array([place == scene.place for place in PLACES])
    return np.concatenate([classes / classes.sum(), places]).astype(np.float32)


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
    text_encoder: CLIPTextModel,
) -> VisionTextDualEncoderModel:
    """Trains toybox-clip, or goes on with it; its text tower begins with that of stage 1.

    The contrastive loss of CLIP, plus three auxiliary losses that shorten the training several
    times: linear layers (dropped afterwards) find all attributes of the picture in its embedding
    and those of the thing on each cell in the vision tower's second stage; and among the plainest
    prompts of all classes and places a picture must be nearest to its own.
    """
    torch.manual_seed(0)
    clip = new_clip(tokenizer)
    clip.text_model.load_state_dict(text_encoder.state_dict())
    heads = nn.ModuleList(
        [
            nn.Linear(clip.config.projection_dim, len(ATTRIBUTES)),
            nn.Conv2d(VISION_WIDTHS[1], len(_ON_CELLS), 1),
        ]
    )
    slow = list(clip.text_model.parameters())
    fast = [p for p in (*clip.parameters(), *heads.parameters()) if all(p is not q for q in slow)]
    rates = (config["rate"], config["rate"] * config["text_rate"])
    optimizer = torch.optim.AdamW(
        [{"params": fast}, {"params": slow}], betas=(0.9, 0.98), weight_decay=0.05, fused=True
    )
    average = Average(clip, 0.995)
    plainest = tokenizer(PROBES, padding="max_length", max_length=MAX_LENGTH, return_tensors="pt")

    def step(k: int) -> dict[str, float]:
        rng = np.random.default_rng([12, k])
        indices = np.sort(rng.choice(len(images), config["batch"], replace=False))
        scenes = [scene_at(seed, int(i)) for i in indices]
        tokens = tokenizer(
            [caption(scene, rng) for scene in scenes], padding="max_length", truncation=True,
            max_length=MAX_LENGTH, return_tensors="pt",
        )  # fmt: skip
        x = blurred(to_tensor(images[indices]), rng)
        with torch.autocast("cpu", torch.bfloat16):
            seen = clip.vision_model(x, output_hidden_states=True)
            pictures = clip.visual_projection(seen.pooler_output.flatten(1)).float()
            ids = torch.cat([tokens.input_ids, plainest.input_ids])
            texts = clip.text_projection(clip.text_model(ids).pooler_output).float()
            named, on_cells = heads[0](pictures), heads[1](seen.hidden_states[2])
        every = clip.logit_scale.exp() * F.normalize(pictures) @ F.normalize(texts).T
        logits, probes = every[:, : len(x)], every[:, len(x) :]
        target = torch.arange(len(x))
        losses = {
            "contrast": (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2,
            "named": _distance(named, np.stack([attributes(scene) for scene in scenes])),
            "probed": _choice(probes, np.stack([probed(scene) for scene in scenes])),
            "seen": _distance(on_cells, np.stack([cell_attributes(scene) for scene in scenes])),
        }
        losses["named"] = config["named"] * losses["named"]
        loss = torch.stack(list(losses.values())).sum()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * warm_up_and_decay(k, config["steps"])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(max=4.6052)
        average.update(k)
        right = (logits.argmax(1) == target).float().mean()
        return {**{key: value.item() for key, value in losses.items()}, "right": right.item()}

    state = {"clip": clip, "heads": heads, "opt": optimizer, "ema": average}
    Loop(folder, "clip", config["steps"], state).run(step)
    average.write()
    return clip.eval()


def _distance(logits: Tensor, wanted: np.ndarray) -> Tensor:
    """Binary cross-entropy, summed over the attributes (dimension 1), else averaged."""
    every = F.binary_cross_entropy_with_logits(
        logits.float(), torch.from_numpy(wanted), reduction="none"
    )
    return every.sum(1).mean()


def _choice(logits: Tensor, wanted: np.ndarray) -> Tensor:
    """Cross-entropy among the classes plus that among the places."""
    kinds = (slice(0, len(CLASSES)), slice(len(CLASSES), None))
    shares = torch.from_numpy(wanted)
    return sum(
        (F.cross_entropy(logits[:, kind], shares[:, kind]) for kind in kinds),
        start=torch.zeros(()),
    )
