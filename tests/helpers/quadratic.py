"""An objective whose best mask is known."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

SIZE = 400


class Quadratic:
    """|A (theta - wanted)|^2: shutting the `planted` weights is best, others do harm."""

    def __init__(self, coupling: float, seed: int = 0, broken: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.theta = torch.randn(SIZE, generator=generator)
        self.theta += 0.3 * self.theta.sign()  # no weight is nearly zero already
        self.planted = torch.randperm(SIZE, generator=generator)[:20]
        self.wanted = self.theta.clone()
        self.wanted[self.planted] = 0
        mixing = torch.randn(SIZE, SIZE, generator=generator) / math.sqrt(SIZE)
        self.matrix = (1 - coupling) * torch.eye(SIZE) + coupling * mixing
        self.broken = broken

    def loss(self, weights: Tensor) -> Tensor:
        return (self.matrix @ (weights - self.wanted)).square().sum()

    def gradient(self, weights: Tensor, step: int) -> tuple[Mapping[str, Tensor], Tensor]:
        leaf = weights.clone().requires_grad_()
        value = self.loss(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
        if step < self.broken:
            gradient[3] = float("inf")
        return {"subject": value.detach()}, gradient

    def shut(self, chosen: Tensor) -> float:
        weights = self.theta.clone()
        weights[chosen] = 0
        return self.loss(weights).item()
