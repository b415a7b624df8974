"""What a model sees of an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image


def square(image: Image.Image, size: int) -> Image.Image:
    """The centre square of an image, `size` x `size` pixels; not resampled if it has that side."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side == size:
        return image
    finer = side > size
    return image.resize(
        (size, size), Image.Resampling.LANCZOS if finer else Image.Resampling.BICUBIC
    )


def squares(images: Sequence[Image.Image], size: int) -> npt.NDArray[np.uint8]:
    """The centre squares of RGB images, uint8 `[n, size, size, 3]`."""
    return np.stack([np.asarray(square(image, size)) for image in images])


def to_tensor(pixels: npt.NDArray[Any], device: torch.device | str = "cpu") -> torch.Tensor:
    """Pixels as networks read them: uint8 `[n, h, w, 3]` -> float32 `[n, 3, h, w]` in [-1, 1]."""
    tensor = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)  # channels last in memory
    return tensor.to(device, torch.float32) / 127.5 - 1
