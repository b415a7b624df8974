"""What a denoiser is told of each prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts; what a family of models does not use is None.

    Attributes:
        states: the text encoders' states, `[n, length, width]`.
        pooled: a summary of each prompt, `[n, d]` (SDXL, Stable Diffusion 3, Flux).
        mask: int64 `[n, length]`, 1 where a state is a token's and 0 where it is padding (PixArt).
    """

    states: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None

    def __len__(self) -> int:
        """The number of prompts."""
        return len(self.states)

    def __getitem__(self, rows: slice | Sequence[int]) -> "Conditioning":
        """Some of the prompts, in the order of `rows`."""
        pooled = None if self.pooled is None else self.pooled[rows]
        mask = None if self.mask is None else self.mask[rows]
        return Conditioning(self.states[rows], pooled, mask)

    def to(self, dtype: torch.dtype) -> "Conditioning":
        """The same in another type; the mask stays whole numbers."""
        pooled = None if self.pooled is None else self.pooled.to(dtype)
        return Conditioning(self.states.to(dtype), pooled, self.mask)

    @staticmethod
    def cat(several: Sequence["Conditioning"]) -> "Conditioning":
        """The prompts of several, one after another."""
        states = torch.cat([each.states for each in several])
        pooled, mask = ([getattr(each, part) for each in several] for part in ("pooled", "mask"))
        return Conditioning(states, _cat(pooled), _cat(mask))


def _cat(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None
