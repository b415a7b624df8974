"""The paper's gradient in the plainest way: what the fast search is held against.

One sample after another, the mask M a parameter that multiplies each weight where it stands, the
loss as the paper writes it, everything in the type of the model. It uses nothing of the package.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization


@dataclass(frozen=True)
class One:
    """One noised latent.

    Attributes:
        latent: x_0, `[1, channels, height, width]`.
        noise: eps, like `latent`.
        timestep: t, int64 `[1]`.
        states: its prompt encoded, `[1, length, width]`.
    """

    latent: Tensor
    noise: Tensor
    timestep: Tensor
    states: Tensor


class Masked(nn.Module):
    """The weight theta * M in place of theta."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = nn.Parameter(mask.clone())

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def mask_gradient(
    unet: nn.Module,
    alphas: Tensor,
    masks: dict[str, Tensor],
    subject: Sequence[One],
    prior: Sequence[One],
    prior_weight: float,
    distill: bool,
    velocity: bool,
) -> tuple[float, dict[str, Tensor]]:
    """L_con and dL_con/dM, by layer.

    Args:
        unet: the denoiser, which stays as it is.
        alphas: the schedule's cumulative alphas.
        masks: M of each layer, in the shape of its weight.
        subject: the subject's samples.
        prior: the prior's.
        prior_weight: lambda.
        distill: whether the prior's target is what the unmasked denoiser says.
        velocity: whether the denoiser predicts the velocity, not the noise.
    """
    masked = copy.deepcopy(unet)
    parameters = {}
    for layer, mask in masks.items():
        module = Masked(mask)
        register_parametrization(masked.get_submodule(layer), "weight", module)
        parameters[layer] = module.mask

    def error(one: One, from_base: bool) -> Tensor:
        alpha = alphas[one.timestep.item()]
        noisy = alpha.sqrt() * one.latent + (1 - alpha).sqrt() * one.noise
        wanted = one.noise
        if velocity:
            wanted = alpha.sqrt() * one.noise - (1 - alpha).sqrt() * one.latent
        if from_base:
            with torch.no_grad():
                wanted = unet(noisy, one.timestep, one.states).sample
        return ((masked(noisy, one.timestep, one.states).sample - wanted) ** 2).mean()

    loss = sum(error(one, False) for one in subject) / len(subject)
    loss = loss + prior_weight * sum(error(one, distill) for one in prior) / len(prior)
    loss.backward()
    return loss.item(), {layer: mask.grad for layer, mask in parameters.items()}
