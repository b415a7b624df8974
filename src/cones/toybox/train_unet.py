"""Stage 4: the UNet, on cached latents, with the frozen text tower of stage 1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from cones.models.images import to_tensor
from cones.toybox.captions import FILLERS, WORDS, caption
from cones.toybox.data import scene_at
from cones.toybox.models import new_scheduler, new_unet
from cones.toybox.tokenizer import MAX_LENGTH
from cones.toybox.training import Average, Loop, set_rate
from cones.toybox.world import ACCESSORIES, CLASSES, COLOURS, COUNTS, PATTERNS, Scene

# what the heads ask for: class, main colour, second colour, pattern, accessory
ATTRIBUTES = (CLASSES, tuple(COLOURS), tuple(COLOURS), PATTERNS, ACCESSORIES)


@torch.no_grad()
def cached_latents(vae: AutoencoderTiny, images: np.ndarray, path: Path) -> np.ndarray:
    """Encodes all pictures once. Returns float16 `[n, latent_channels, 16, 16]`, unit variance.

    The scale that gives the unit variance is written into the autoencoder's config.
    """
    if not path.exists():
        chunks = [images[k : k + 200] for k in range(0, len(images), 200)]
        with torch.autocast("cpu", torch.bfloat16):
            found = [vae.encode(to_tensor(chunk)).latents.half().numpy() for chunk in chunks]
        np.save(path, np.concatenate(found))
    latents: np.ndarray = np.load(path)
    scale = 1 / float(latents[:4000].astype(np.float32).std())
    vae.register_to_config(scaling_factor=scale)
    return latents


def rate_factor(step: int, steps: int, warm_up: int = 200) -> float:
    """Up in `warm_up` steps, constant, and down along a line in the last quarter."""
    return max(0.01, min(1.0, (step + 1) / warm_up, (steps - step) / (0.25 * steps)))


def emphasis(scene: Scene, cells: int, weight: float) -> np.ndarray:
    """The loss's weight of each latent pixel, float32 `[cells, cells]`: more where a thing is.

    It moves effort from the places, which are soon learned, to the things. The best prediction of
    each pixel is the same for any weights.
    """
    found = np.ones((cells, cells), np.float32)
    for thing in scene.things:
        found[thing.covers(cells)] = weight
    return found


def attribute_maps(scene: Scene, cells: int) -> np.ndarray:
    """What stands on each latent pixel, int64 `[len(ATTRIBUTES), cells, cells]`.

    0 where nothing stands, else 1 + the number of its class, main colour, second colour, pattern
    and accessory.
    """
    found = np.zeros((len(ATTRIBUTES), cells, cells), np.int64)
    for thing in scene.things:  # the nearest last: it covers the others
        look = thing.look
        values = (thing.noun, look.main, look.second, look.pattern, look.accessory)
        numbers = [1 + list(kind).index(v) for kind, v in zip(ATTRIBUTES, values, strict=True)]
        found[:, thing.covers(cells)] = np.array(numbers)[:, None]
    return found


def stranger_ids(tokenizer: CLIPTokenizer) -> tuple[Tensor, Tensor]:
    """The tokens that say nothing in captions, and those of no word at all; both int64."""

    def tokens(words: Sequence[str]) -> list[int]:
        found: list[int] = tokenizer(" ".join(words), add_special_tokens=False).input_ids
        return found

    known = {*tokens(WORDS), *tokenizer.all_special_ids}
    strangers = [token for token in range(len(tokenizer)) if token not in known]
    return torch.tensor(tokens(FILLERS)), torch.tensor(strangers)


def put_strangers(
    ids: Tensor, fillers: Tensor, strangers: Tensor, share: float, generator: torch.Generator
) -> None:
    """Puts a token of no word in the place of some fillers, so that "a ucn robot" is a robot.

    Without this a word that is in no caption, as a subject's rare token must be, spoils the thing
    that it stands before. The rare tokens themselves are words and stay unused.

    Args:
        ids: of captions, int64 `[n, length]`; changed in place.
        fillers: tokens that may go.
        strangers: tokens that may come.
        share: of the fillers that go.
        generator: draws.
    """
    gone = torch.isin(ids, fillers) & (torch.rand(ids.shape, generator=generator) < share)
    drawn = torch.randint(len(strangers), (int(gone.sum()),), generator=generator)
    ids[gone] = strangers[drawn]


def words_only(ids: Tensor, end: int, share: float, generator: torch.Generator) -> Tensor:
    """Which tokens the UNet may look at: in a share of the captions not the end tokens.

    The state of every end token tells of the whole caption, so a model that may always look there
    hardly looks at a word itself, and what a subject's token then says depends on all the other
    words of the prompt. The words' own states depend on nothing that stands after them.

    Args:
        ids: of captions, int64 `[n, length]`.
        end: the token that ends a caption and fills the rest.
        share: of the captions whose end tokens are hidden.
        generator: draws.

    Returns:
        bool `[n, length]`.
    """
    hidden = torch.rand(len(ids), 1, generator=generator) < share
    return ~(hidden & (ids == end))


class AttributeHeads(nn.Module):
    """Linear layers that read what stands on each latent pixel from the UNet's way up.

    Through heavy noise only the caption tells what will stand somewhere, and the denoising loss
    gains little by it, so that words find their shapes and colours late. Asked for class, colours,
    pattern and accessory outright, the cross-attention learns them sooner. The layers are dropped
    after the training.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """Listens to all levels on the way up but the last."""
        super().__init__()
        widths = unet.config.block_out_channels[:0:-1]
        self.sizes = [1 + len(kind) for kind in ATTRIBUTES]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(1, width), nn.Conv2d(width, sum(self.sizes), 1))
            for width in widths
        )
        self._states: list[Tensor] = []
        for block, _ in zip(unet.up_blocks, widths, strict=False):
            block.register_forward_hook(lambda _, __, states: self._states.append(states))

    def forward(self, found: Tensor, weights: Tensor) -> Tensor:
        """The cross-entropy of the UNet's last pass against attribute maps.

        Args:
            found: `attribute_maps` of each picture, int64 `[n, len(ATTRIBUTES), h, w]`.
            weights: of the pixels, float32 `[n, h, w]`.

        Returns:
            The mean over pixels and levels, summed over the attributes.
        """
        losses = []
        for layer, states in zip(self.layers, self._states, strict=True):
            logits = F.interpolate(layer(states.float()), found.shape[2:])
            for part, wanted in zip(logits.split(self.sizes, 1), found.unbind(1), strict=True):
                losses.append((weights * F.cross_entropy(part, wanted, reduction="none")).mean())
        self._states.clear()
        return torch.stack(losses).sum() / len(self.layers)


def common_captions(
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], seed: int, num: int = 1000
) -> list[str]:
    """Captions in which each word is one token for both tokenizers, which need know no others."""
    found: list[str] = []
    longest = min(tokenizer.model_max_length for tokenizer in tokenizers) - 2
    for k in count():
        text = caption(scene_at(seed, k), np.random.default_rng([15, k]))
        words = len(text.replace(",", " ,").split())
        if words <= longest and all(
            len(t(text, add_special_tokens=False).input_ids) == words for t in tokenizers
        ):
            found.append(text)
        if len(found) == num:
            break
    return found


@torch.no_grad()
def read_new_states(
    unet: UNet2DConditionModel,
    towers: tuple[CLIPTextModel, CLIPTextModel],
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
    captions: Sequence[str],
) -> None:
    """Makes a UNet that knows one text tower's states read another's.

    A linear map from the new tower's states to the old one's, by least squares over captions, goes
    into the cross-attention's key and value weights.

    Args:
        unet: changed in place.
        towers: the old and the new one.
        tokenizers: theirs.
        captions: each a token a word for both.
    """
    states = []
    for tower, tokenizer in zip(towers, tokenizers, strict=True):
        ids = tokenizer(list(captions), padding=True, return_tensors="pt").input_ids
        states.append(tower(ids).last_hidden_state.flatten(0, 1).float())
    old, new = states
    ridge = 1e-3 * new.square().sum(0).mean() * torch.eye(new.shape[1])
    turned = torch.linalg.solve(new.T @ new + ridge, new.T @ old)  # new @ turned is about old
    for name, p in unet.named_parameters():
        if "attn2.to_k" in name or "attn2.to_v" in name:
            p.copy_(p @ turned.T)


def train_unet(
    config: dict[str, Any],
    images: np.ndarray,
    vae: AutoencoderTiny,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    folder: Path,
    start: UNet2DConditionModel | None = None,
) -> UNet2DConditionModel:
    """Trains the UNet, or goes on with it, by velocity prediction with caption dropout.

    `counts` says how often a picture holds one, two, three and four things; before the step
    `single_until` it is `early_counts`, mostly one thing, so that words find their shapes. An
    exponent `noisy` below 1 draws high timesteps more often: there the text tells what to draw.

    Returns:
        The model with its averaged weights.
    """
    seed, own = config["seed"], config["unet"]
    latents = cached_latents(vae, images, folder / "latents.npy")
    torch.manual_seed(0)
    unet = new_unet(own["channels"], latents.shape[1])
    if start is not None:
        unet.load_state_dict(start.float().state_dict())
    unet.set_attn_processor(AttnProcessor())  # on a CPU faster than SDPA, whose backward is slow
    heads = AttributeHeads(unet)
    optimizer = torch.optim.AdamW(
        [*unet.parameters(), *heads.parameters()],
        lr=own["rate"],
        betas=(0.9, 0.99),
        weight_decay=0.01,
        fused=True,
    )
    average = Average(unet, own["ema"])
    schedule = new_scheduler()
    alphas = schedule.alphas_cumprod.float()
    total = own["steps"]
    scenes = [scene_at(seed, k) for k in range(len(latents))]
    held = np.array([len(scene.things) for scene in scenes])
    having = [np.flatnonzero(held == count) for count in COUNTS]
    scale = vae.config.scaling_factor
    fillers, strangers = stranger_ids(tokenizer)

    def step(k: int) -> dict[str, float]:
        rng = np.random.default_rng([13, k])
        generator = torch.Generator().manual_seed(k)
        shares = own["counts" if k >= own["single_until"] else "early_counts"]
        drawn = rng.choice(len(having), own["batch"], p=shares)
        indices = np.array([rng.choice(having[count]) for count in drawn])
        dropped = rng.random(len(indices)) < own["drop_caption"]
        captions = [
            "" if drop else caption(scenes[i], rng)
            for i, drop in zip(indices, dropped, strict=True)
        ]
        tokens = tokenizer(
            captions, padding="max_length", truncation=True, max_length=MAX_LENGTH,
            return_tensors="pt",
        )  # fmt: skip
        put_strangers(tokens.input_ids, fillers, strangers, own["strangers"], generator)
        seen = words_only(tokens.input_ids, tokenizer.eos_token_id, own["words_only"], generator)
        x = torch.from_numpy(latents[indices]).float() * scale
        strata = (torch.arange(len(x)) + torch.rand(len(x), generator=generator)) / len(x)
        t = (strata ** own["noisy"] * len(alphas)).long().clamp_(max=len(alphas) - 1)
        noise = torch.randn(x.shape, generator=generator)
        a, s = (f.view(-1, 1, 1, 1) for f in (alphas[t].sqrt(), (1 - alphas[t]).sqrt()))
        set_rate(optimizer, own["rate"] * rate_factor(k, total))
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                states = text_encoder(tokens.input_ids).last_hidden_state
            guess = unet(a * x + s * noise, t, states, encoder_attention_mask=seen).sample
        cells = x.shape[-1]
        found = np.stack([emphasis(scenes[i], cells, own["emphasis"]) for i in indices])
        weights = torch.from_numpy(found / found.mean())
        maps = torch.from_numpy(np.stack([attribute_maps(scenes[i], cells) for i in indices]))
        error = (guess.float() - (a * noise - s * x)).square().mean(1)
        named = heads(maps, weights)
        loss = (weights * error).mean() + own["name"] * named
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average.update(k)
        figures = {"loss": loss, "plain": error.mean(), "named": named, "norm": norm}
        return {key: value.item() for key, value in figures.items()}

    state = {"unet": unet, "heads": heads, "opt": optimizer, "ema": average}
    Loop(folder, "unet", total, state).run(step)
    average.write()
    unet.set_default_attn_processor()
    return unet.eval()
