"""Features of pictures and texts: the only part of the evaluation that runs a network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from cones.errors import InputError
from cones.photos import square
from cones.toybox.data import to_tensor


class Features(Protocol):
    """Pictures and texts as points of one space; both methods give unit vectors, float32."""

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB pictures of any size -> `[n, d]`."""
        ...

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Sentences -> `[n, d]`."""
        ...


class ClipFeatures:
    """The features of a CLIP.

    A folder without `preprocessor_config.json` is read as toybox-clip is: the centre square,
    scaled to the model's side, RGB in [-1, 1].
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | torch.device = "cpu",
        batch: int = 64,
        local_files_only: bool = True,
    ) -> None:
        """Opens a CLIP.

        Args:
            model: a folder with a transformers CLIPModel (or VisionTextDualEncoderModel, as
                toybox-clip is) and its tokenizer, or a hub name.
            device: where to compute.
            batch: pictures or texts at once.
            local_files_only: False lets a hub name be downloaded.

        Raises:
            InputError: there is no such model.
        """
        options = {"local_files_only": local_files_only}
        try:
            self.model = AutoModel.from_pretrained(
                model, dtype=torch.float32, use_safetensors=True, **options
            )
            self.tokenizer = AutoTokenizer.from_pretrained(model, **options)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{model}: cannot be opened as a CLIP ({' '.join(str(error).split())[:160]}); "
                "expected a folder with a transformers CLIPModel and its tokenizer"
            ) from error
        if not hasattr(self.model, "visual_projection"):
            raise InputError(
                f"{model}: expected a CLIP, found {type(self.model).__name__}; name the folder of "
                "a transformers CLIPModel or VisionTextDualEncoderModel"
            )
        self.model.eval().requires_grad_(False).to(device)
        self.device, self.batch = torch.device(device), batch
        self.preprocess = _preprocessing(model, options, self.model.config.vision_config.image_size)

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB pictures of any size -> unit vectors, float32 `[n, d]`, on the CPU."""

        def encode(chunk: Sequence[Image.Image]) -> Any:
            pixels = self.preprocess([image.convert("RGB") for image in chunk])
            pooled = self.model.vision_model(pixel_values=pixels.to(self.device)).pooler_output
            return self.model.visual_projection(pooled.flatten(1))

        return self._encoded(encode, images)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Sentences -> unit vectors, float32 `[n, d]`, on the CPU."""

        def encode(chunk: Sequence[str]) -> Any:
            tokens = self.tokenizer(
                list(chunk),
                padding="max_length",
                truncation=True,
                max_length=self.tokenizer.model_max_length,
                return_tensors="pt",
            )
            pooled = self.model.text_model(**tokens.to(self.device)).pooler_output
            return self.model.text_projection(pooled)

        return self._encoded(encode, texts)

    @torch.no_grad()
    def _encoded(self, encode: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> Tensor:
        parts = []
        for start in range(0, len(items), self.batch):
            vectors: Tensor = encode(items[start : start + self.batch])
            parts.append(torch.nn.functional.normalize(vectors.float(), dim=-1).cpu())
        return torch.cat(parts)


def _preprocessing(
    model: str | Path, options: dict[str, bool], side: int
) -> Callable[[list[Image.Image]], Tensor]:
    """Pictures -> what the vision tower reads, float32 `[n, 3, side, side]`."""
    if Path(model).is_dir() and not (Path(model) / "preprocessor_config.json").exists():
        return lambda images: to_tensor(np.stack([np.asarray(square(i, side)) for i in images]))
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil.from_pretrained(model, **options)

    def processed(images: list[Image.Image]) -> Tensor:
        pixels: Tensor = processor(images, return_tensors="pt").pixel_values
        return pixels

    return processed
