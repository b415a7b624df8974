"""One training step of each of diffusers' example scripts, rebuilt from their public description.

`train_custom_diffusion.py`, `train_dreambooth.py` and `textual_inversion.py` with their default
options, the first two with prior preservation. Not the scripts themselves and none of their text:
what is trained, what runs in every step, the loss and the optimiser are theirs. In each of them the
autoencoder encodes the pictures and the text encoder reads the prompts in every step. Left out is
what costs nothing: learning rate schedules, logging, and Custom Diffusion's mask of the pictures'
borders. Adam's states stay in memory between the steps; the model is frozen between them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from diffusers.models.attention_processor import CustomDiffusionAttnProcessor2_0
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_

from benchmarks.stable_diffusion import Workload
from benchmarks.timing import Step

MAX_NORM = 1.0  # of the gradient
NEW_TOKEN = 7  # the row of the embedding that stands for the subject


def dreambooth(work: Workload) -> Step:
    """The whole UNet is trained; the text encoder is frozen."""
    parameters = list(work.unet.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=5e-6)

    def step() -> None:
        with trained(parameters):
            loss_with_prior(work).backward()
            clip_grad_norm_(parameters, MAX_NORM)
            optimiser.step()
            optimiser.zero_grad()

    return step


def custom_diffusion(work: Workload) -> Step:
    """Keys and values of the cross-attention are trained, and the token's embedding."""
    layers = custom_layers(work.unet)
    embedding = work.backbone.pipeline.text_encoder.get_input_embeddings().weight
    parameters = [*chain.from_iterable(new.parameters() for _, _, new in layers), embedding]
    optimiser = torch.optim.AdamW(parameters, lr=5e-6)
    others = torch.arange(len(embedding), device=embedding.device) != NEW_TOKEN

    def step() -> None:
        for attention, _, new in layers:
            attention.set_processor(new)
        with trained(parameters):
            loss_with_prior(work).backward()
            embedding.grad[others] = 0
            clip_grad_norm_(parameters, MAX_NORM)
            optimiser.step()
            optimiser.zero_grad()
        for attention, own, _ in layers:
            attention.set_processor(own)

    return step


def textual_inversion(work: Workload) -> Step:
    """The token's embedding alone is trained, through the UNet and the text encoder; no prior."""
    embedding = work.backbone.pipeline.text_encoder.get_input_embeddings().weight
    optimiser = torch.optim.AdamW([embedding], lr=1e-4)
    original = embedding.detach().clone()
    others = torch.arange(len(embedding), device=embedding.device) != NEW_TOKEN

    def step() -> None:
        with trained([embedding]):
            mse_loss(*prediction_and_noise(work)).backward()
            optimiser.step()
            optimiser.zero_grad()
            with torch.no_grad():
                embedding[others] = original[others]

    return step


def prediction_and_noise(work: Workload) -> tuple[Tensor, Tensor]:
    """What the UNet says on freshly encoded pictures and prompts, and what it should."""
    pipeline = work.backbone.pipeline
    latents = pipeline.vae.encode(work.pixels).latent_dist.sample()
    latents = latents * pipeline.vae.config.scaling_factor
    noise, length = torch.randn_like(latents), pipeline.scheduler.config.num_train_timesteps
    timesteps = torch.randint(length, (len(latents),), device=latents.device)
    noisy = pipeline.scheduler.add_noise(latents, noise, timesteps)
    states = pipeline.text_encoder(work.ids)[0]
    return work.unet(noisy, timesteps, states, return_dict=False)[0], noise


def loss_with_prior(work: Workload) -> Tensor:
    """The loss on the subject's half of the batch and on the prior's."""
    halves = (each.chunk(2) for each in prediction_and_noise(work))
    subject, prior = (mse_loss(*pair) for pair in zip(*halves, strict=True))
    return subject + prior


def custom_layers(unet: nn.Module) -> list[tuple[nn.Module, object, nn.Module]]:
    """Each attention with its own processor and with Custom Diffusion's, which diffusers has."""
    layers: list[tuple[nn.Module, object, nn.Module]] = []
    for name, attention in unet.named_modules():
        if not hasattr(attention, "set_processor") or not hasattr(attention, "to_k"):
            continue
        width, into = attention.to_k.weight.shape
        crosses = name.endswith("attn2")
        new = CustomDiffusionAttnProcessor2_0(crosses, False, width, into)
        if crosses:
            new.to_k_custom_diffusion.load_state_dict(attention.to_k.state_dict())
            new.to_v_custom_diffusion.load_state_dict(attention.to_v.state_dict())
        new = new.to(attention.to_k.weight.device).requires_grad_(False)
        layers.append((attention, attention.processor, new))
    return layers


@contextmanager
def trained(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let parameters have gradients for a while."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
