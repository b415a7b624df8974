"""The search algorithms. Each turns the gradients of L_con into a score for every weight.

The weights with the highest scores (`cones.search.selection.top`) are the neurons. All algorithms
work on theta, the flattened and concatenated weights, a float32 vector of N; they compute with
copies, so that the model stays as it is.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cones.search.gradstats import GradientStats
from cones.search.loop import Objective, SearchLoop
from cones.search.selection import largest

HEAD_START = 10.0  # steps of the optimiser, by which neurons to begin with are ahead
TIE_WEIGHT = 0.01  # steps of the optimiser: latents closer than this are ranked by gradient


def one_pass(objective: Objective, loop: SearchLoop) -> Tensor:
    """Return the mean scores at the unchanged model, float32 `[N]`: the naive search."""
    stats = GradientStats.zeros(len(objective.theta), objective.theta.device)
    for step in loop.remaining(**stats.state_dict()):
        stats.update(loop.score(objective.theta, step))
    return stats.mean


def paper(objective: Objective, loop: SearchLoop, rho: float) -> Tensor:
    """Run Algorithm 1 of the paper, as far as it can be recovered.

    In each of K steps: s = theta * dL_con/dtheta, M_sum += s, theta <- theta * (1 - rho * s). The
    paper shuts where M_sum > tau and does not publish tau; here the density gives it.

    Args:
        objective: the loss.
        loop: gives the gradient of each step.
        rho: the paper's step size.

    Returns:
        M_sum / K, float32 `[N]`.
    """
    theta = objective.theta
    stats = GradientStats.zeros(len(theta), theta.device)
    # The factors' logarithms, in float64, which MPS lacks: in float32 a factor 1 - 2e-5 * s is 1.
    home = torch.device("cpu") if theta.device.type == "mps" else theta.device
    walked = torch.zeros(len(theta), dtype=torch.float64, device=home)
    for step in loop.remaining(walked=walked, **stats.state_dict()):
        factor = walked.exp().float().to(theta.device)
        score = loop.score(theta * factor, step) * factor  # theta is the walked theta
        stats.update(score)
        walked += torch.log1p(-rho * score.to(home).double())
    return stats.mean


def mask_in_the_loop(
    objective: Objective,
    count: int,
    loop: SearchLoop,
    rate: float,
    strength: float,
    start: Tensor | None = None,
) -> Tensor:
    """Search with the mask in place, so that the neurons are chosen for acting together.

    Each weight has a latent, at first 1. In each step the weights with the smallest latents are
    shut, the loss is differentiated there with respect to the mask, and the gradient goes
    straight through to the latents (Adam). The number of shut weights grows linearly to `count`
    over the first half of the run; the rate falls along a cosine.

    Args:
        objective: the loss.
        count: neurons shut in the loop, from the middle of the run on.
        loop: gives the gradient of each step.
        rate: Adam's, in units of the latents; 0.03 moves one by 0.03 in a step.
        strength: of the shutting in the loop: 1 sets to zero, 2 flips the sign.
        start: positions that are shut from the first step on, `HEAD_START` ahead of the others.

    Returns:
        The score of each weight, float32 `[N]`.
    """
    theta = objective.theta
    latent = torch.ones_like(theta)
    least = 0
    if start is not None:
        latent[start] -= HEAD_START * rate
        least = min(count, len(start))
    adam = _Adam.zeros_like(theta)
    for step in loop.remaining(latent=latent, **adam.state_dict()):
        size = max(least, round(count * min(1.0, step / (0.5 * loop.total))))
        weights = theta.clone()
        if size:
            shut = largest(_scores(latent, adam.first, rate), size)
            weights[shut] *= 1 - strength
        # The gradient of the mask M: shutting lowers M by one.
        adam.descend(latent, loop.score(weights, step), step, _cosine(rate, step, loop.total))
        latent.clamp_(max=1)
    return _scores(latent, adam.first, rate)


def _scores(latent: Tensor, gradient: Tensor, rate: float) -> Tensor:
    """Return each weight's score: how far its latent fell, and its gradient to break ties.

    Adam's first step has one size for all weights. Without the gradient, rounding would choose the
    first masks, and as they steer the search, each machine would find neurons of its own.

    Args:
        latent: float32 `[N]`, at most 1.
        gradient: its running mean, float32 `[N]`.
        rate: Adam's.
    """
    size = gradient.abs() + gradient.square().mean().sqrt() + torch.finfo(torch.float32).tiny
    return gradient / size * (TIE_WEIGHT * rate) - latent


def fine_tune(objective: Objective, loop: SearchLoop, rate: float) -> tuple[Tensor, Tensor]:
    """Train all weights densely, with Adam; `reconstruction` then does the same by shutting alone.

    Args:
        objective: the loss.
        loop: gives the gradient of each step.
        rate: Adam's; it falls along a cosine.

    Returns:
        The weights, and the running mean square of each one's gradient; both float32 `[N]`.
    """
    weights = objective.theta.clone()
    adam = _Adam.zeros_like(weights)
    for step in loop.remaining(weights=weights, **adam.state_dict()):
        gradient = loop.gradient(weights, step)
        adam.descend(weights, gradient, step, _cosine(rate, step, loop.total))
    return weights, adam.second


def _cosine(rate: float, step: int, total: int) -> float:
    """Return the rate of a step: it falls from `rate` to a tenth of it."""
    return rate * (0.55 + 0.45 * math.cos(math.pi * step / total))


@dataclass(frozen=True)
class _Adam:
    """Adam's two moments, float32 `[N]`, changed in place: plain tensors, as checkpoints hold them.

    `torch.optim.Adam` rounds otherwise in the last bit, which would change the neurons of a seed.
    """

    first: Tensor
    second: Tensor

    @classmethod
    def zeros_like(cls, values: Tensor) -> "_Adam":
        return cls(torch.zeros_like(values), torch.zeros_like(values))

    def state_dict(self) -> dict[str, Tensor]:
        """Return both, for a checkpoint."""
        return {"first": self.first, "second": self.second}

    def descend(self, values: Tensor, gradient: Tensor, step: int, rate: float) -> None:
        """Move the values against their gradient.

        Args:
            values: float32 `[N]`, changed in place.
            gradient: float32 `[N]`.
            step: its number, from 0.
            rate: learning rate of this step.
        """
        beta1, beta2 = 0.9, 0.99
        self.first.lerp_(gradient, 1 - beta1)
        self.second.lerp_(gradient.square(), 1 - beta2)
        mean = self.first / (1 - beta1 ** (step + 1))
        spread = (self.second / (1 - beta2 ** (step + 1))).sqrt().add_(1e-12)
        values.addcdiv_(mean, spread, value=-rate)
