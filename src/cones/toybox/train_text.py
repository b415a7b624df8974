"""Stage 1: the text tower, on captions alone, before any picture.

A tower that only ever meets pictures through a contrastive loss lets words fall together that
pictures do not soon tell apart ("mug" and "teapot", and all rare tokens). Here each state must tell
its own word and the words before it, and the last state the words of the whole caption. Words are
replaced at random by any other token, so that a word nobody knows stays itself too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from cones.toybox.captions import caption
from cones.toybox.data import scene_at
from cones.toybox.models import TEXT_WIDTH, new_text_tower
from cones.toybox.tokenizer import MAX_LENGTH
from cones.toybox.training import Average, Loop, set_rate, warm_up_and_decay

BACK = 6  # how many words before its own a state must tell
ASKED = 2  # of them at each step
NOISE = 0.08  # share of the words that are replaced
EMBEDDING_STD = 0.1  # transformers' 0.02 drowns in what the layers add


def train_text(
    config: dict[str, Any], pictures: int, seed: int, tokenizer: CLIPTokenizer, folder: Path
) -> CLIPTextModel:
    """Trains the text tower, or goes on with it. Returns it frozen."""
    torch.manual_seed(0)
    tower = new_text_tower(tokenizer)
    embedding = tower.get_input_embeddings()
    torch.nn.init.normal_(embedding.weight, std=EMBEDDING_STD)
    words = len(tokenizer)
    told = torch.nn.ModuleList(torch.nn.Linear(TEXT_WIDTH, words) for _ in range(1 + BACK))
    bag = torch.nn.Linear(TEXT_WIDTH, words)
    modules = torch.nn.ModuleList([tower, told, bag])
    optimizer = torch.optim.AdamW(modules.parameters(), lr=config["rate"], weight_decay=0.0)
    average = Average(tower, 0.99)
    state = {"modules": modules, "opt": optimizer, "ema": average}

    def step(k: int) -> dict[str, float]:
        rng = np.random.default_rng([14, k])
        scenes = [scene_at(seed, int(i)) for i in rng.integers(0, pictures, config["batch"])]
        texts = [caption(scene, rng) for scene in scenes]
        ids = tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=MAX_LENGTH,
            return_tensors="pt",
        ).input_ids
        noised = torch.from_numpy(rng.random(ids.shape) < NOISE) & (ids < words - 2)
        ids[noised] = torch.from_numpy(rng.integers(0, words - 2, int(noised.sum())))
        set_rate(optimizer, config["rate"] * warm_up_and_decay(k, config["steps"], 50))
        with torch.autocast("cpu", torch.bfloat16):
            out = tower(ids)
            whole = bag(out.pooler_output).float()
            losses = [F.cross_entropy(told[0](out.last_hidden_state).flatten(0, 1), ids.flatten())]
            for back in 1 + rng.choice(BACK, ASKED, replace=False):
                guess = told[back](out.last_hidden_state[:, back:]).flatten(0, 1)
                losses.append(F.cross_entropy(guess, ids[:, :-back].flatten()))
        present = torch.zeros(len(ids), words).scatter_(1, ids, 1.0)
        said = F.binary_cross_entropy_with_logits(whole, present)
        loss = torch.stack(losses).mean() + 20 * said
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        average.update(k)
        return {"own": losses[0].item(), "before": losses[-1].item(), "said": said.item()}

    Loop(folder, "text", config["steps"], state).run(step)
    average.write()
    return tower.requires_grad_(False).eval()
