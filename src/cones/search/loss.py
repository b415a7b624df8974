"""The concept-implanting loss of the paper, as pure functions.

L_con = E |target - eps_theta(x_t, t, "a V* dog")|^2 over the subject's images
      + lambda E |target' - eps_theta(x_t, t, "a dog")|^2 over images of the class (the prior).

The target is the noise, or the velocity for a v-prediction model. In the prior, target' is that
too (DreamBooth's prior preservation), or the base model's own prediction (distillation), which
has far less variance: it is zero until something was changed.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from cones.models.backbone import Backbone
from cones.subjects.subject import Batch

LOSS_SCALE = 2.0**12  # a power of two: exact, and float16 gradients do not vanish

Weights = Mapping[str, Tensor]


def predict(backbone: Backbone, batch: Batch, weights: Weights | None = None) -> Tensor:
    """Return eps_theta on a batch, float32, like its latents.

    Args:
        backbone: the frozen model.
        batch: x_0, eps, t and the encoded prompts.
        weights: layer -> weight `[out, in]` to use in place of the model's own.
    """
    noisy = backbone.add_noise(batch.latents, batch.noise, batch.timesteps)
    return backbone.predict(noisy, batch.timesteps, batch.states, weights)


def target(backbone: Backbone, batch: Batch) -> Tensor:
    """Return what a perfect denoiser predicts on a batch: the noise or the velocity."""
    return backbone.target(batch.latents, batch.noise, batch.timesteps)


@torch.no_grad()
def own_prediction(backbone: Backbone, batch: Batch) -> Tensor:
    """Return what the unchanged base model predicts on a batch: the target of distillation."""
    return predict(backbone, batch)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each sample: `[n, ...]` -> float32 `[n]`."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def concept_loss(subject_error: Tensor, prior_error: Tensor, prior_weight: float) -> Tensor:
    """Return L_con, a scalar.

    Args:
        subject_error: of the subject's samples, float32 of any shape; its mean counts.
        prior_error: of the prior's samples, likewise.
        prior_weight: lambda.
    """
    return subject_error.mean() + prior_weight * prior_error.mean()
