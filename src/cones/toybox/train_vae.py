"""Stage 2: the autoencoder. Noise on the latents takes the place of a KL term."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock

from cones.models.images import to_tensor
from cones.toybox.data import scene_at
from cones.toybox.models import new_vae
from cones.toybox.training import Average, Loop, set_rate, warm_up_and_decay
from cones.toybox.world import SIZE


def started(vae: AutoencoderTiny) -> AutoencoderTiny:
    """He's initialisation with weak residual branches: without norms, the default learns slowly."""
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(module, AutoencoderTinyBlock):
            module.conv[4].weight.data.mul_(0.3)
    last = vae.decoder.layers[-1]
    last.weight.data.mul_(0.1)
    last.bias.data.fill_(0.5)
    return vae


def crop(images: np.ndarray, seed: int, rng: np.random.Generator) -> np.ndarray:
    """A random picture's part of half its side, around one of its things: there the detail is."""
    index = int(rng.integers(len(images)))
    things = scene_at(seed, index).things
    thing = things[int(rng.integers(len(things)))]
    side = SIZE // 2
    middle = np.array([thing.y - thing.side / 2, thing.x]) + rng.uniform(-12, 12, 2)
    y, x = np.clip(middle - side / 2, 0, SIZE - side).astype(int)
    return np.asarray(images[index, y : y + side, x : x + side])


def train_vae(
    config: dict[str, Any],
    images: np.ndarray,
    seed: int,
    folder: Path,
    start: AutoencoderTiny | None = None,
) -> AutoencoderTiny:
    """Trains the autoencoder, or goes on with it; without a checkpoint it begins with `start`'s.

    The loss is the mean absolute error of pixels and of their differences (edges), under latents
    with Gaussian noise of standard deviation `config["noise"]`, plus a weak pull of the latents to
    unit size (AutoencoderTiny's decoder wants inputs within about +-3). It sees crops around
    things.
    """
    torch.manual_seed(0)
    vae = started(new_vae(config["channels"], config["latent_channels"]))
    if start is not None:
        vae.load_state_dict(start.float().state_dict())
    vae = vae.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config["rate"], weight_decay=0.0)
    average = Average(vae, 0.995)
    loop = Loop(folder, "vae", config["steps"], {"vae": vae, "opt": optimizer, "ema": average})

    def step(k: int) -> dict[str, float]:
        rng = np.random.default_rng([11, k])
        generator = torch.Generator().manual_seed(k)
        crops = [crop(images, seed, rng) for _ in range(config["batch"])]
        x = to_tensor(np.stack(crops)).contiguous(memory_format=torch.channels_last)
        set_rate(optimizer, config["rate"] * warm_up_and_decay(k, config["steps"]))
        with torch.autocast("cpu", torch.bfloat16):
            z = vae.encode(x).latents.float()
            noisy = z + config["noise"] * torch.randn(z.shape, generator=generator)
            y = vae.decode(noisy).sample.float()
        pixels = F.l1_loss(y, x)
        edges = sum(F.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (2, 3))
        size = z.square().mean()
        loss = pixels + F.mse_loss(y, x) + 0.5 * edges + 0.002 * size
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average.update(k)
        figures = {"pixels": pixels, "edges": edges, "size": size}
        return {key: value.item() for key, value in figures.items()}

    loop.run(step)
    average.write()
    return vae.eval()
