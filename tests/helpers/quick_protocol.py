"""A protocol without networks."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cones.evaluation import Protocol
from cones.toybox.reference import RENDERS


class Colours:
    """Features without a network: the mean colour; a text stands for a colour by its length."""

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        means = [np.asarray(image).reshape(-1, 3).mean(0) + 1 for image in images]
        return torch.nn.functional.normalize(torch.tensor(np.array(means)).float(), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        vectors = [[len(text), len(set(text)), 1] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(vectors).float(), dim=-1)


QUICK = Protocol("quick", 3, Colours, steps=2, guidance=2.0, reference=RENDERS)
