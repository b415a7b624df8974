"""Features of DINO: they tell one thing from another of its class better than those of CLIP."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModel

from cones.errors import InputError


class DinoFeatures:
    """The class token of a DINO, as unit vectors; pictures are compared with pictures alone."""

    def __init__(
        self, model: str | Path, *, batch: int = 64, local_files_only: bool = True
    ) -> None:
        """Opens a DINO.

        Args:
            model: a folder with a transformers ViTModel and its preprocessor, or a hub name.
            batch: pictures at once.
            local_files_only: False lets a hub name be downloaded.

        Raises:
            InputError: there is no such model.
        """
        from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

        options = {"local_files_only": local_files_only}
        try:
            self.model = AutoModel.from_pretrained(
                model, dtype=torch.float32, add_pooling_layer=False, **options
            )
            self.processor = ViTImageProcessorPil.from_pretrained(model, **options)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{model}: cannot be opened as a DINO ({' '.join(str(error).split())[:160]}); "
                "expected a folder with a transformers ViTModel and its preprocessor"
            ) from error
        self.model.eval().requires_grad_(False)
        self.batch = batch

    @torch.no_grad()
    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB pictures of any size -> unit vectors, float32 `[n, d]`."""
        parts = []
        for start in range(0, len(images), self.batch):
            chunk = [image.convert("RGB") for image in images[start : start + self.batch]]
            pixels = self.processor(chunk, return_tensors="pt").pixel_values
            tokens = self.model(pixel_values=pixels).last_hidden_state
            parts.append(torch.nn.functional.normalize(tokens[:, 0].float(), dim=-1))
        return torch.cat(parts)
