"""Features of DINO: they tell one thing from another of its class better than those of CLIP."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from cones.checks import check_count
from cones.errors import InputError
from cones.evaluation.features import opening, unit_vectors, whole_network
from cones.subjects.photos import rgb_images


class DinoFeatures:
    """The class token of a DINO, as unit vectors; pictures are compared with pictures alone.

    Attributes:
        model: the network.
        processor: scales pictures as it was trained with.
    """

    def __init__(
        self, model: str | Path, *, batch: int = 64, local_files_only: bool = True
    ) -> None:
        """Open a DINO.

        Args:
            model: a folder with a transformers ViTModel and its preprocessor, or a hub name.
            batch: pictures at once.
            local_files_only: False lets a hub name be downloaded.

        Raises:
            InputError: there is no such model, or not all of it.
        """
        from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

        self.name, self.batch = str(model), check_count("batch", batch)
        options = {"local_files_only": local_files_only}
        with opening(model, "DINO", "a transformers ViTModel and its preprocessor"):
            self.model = whole_network(model, add_pooling_layer=False, **options)
            self.processor = ViTImageProcessorPil.from_pretrained(model, **options)
        if self.model.main_input_name != "pixel_values":
            raise InputError(
                f"{model}: expected a DINO, found {type(self.model).__name__}; name the folder of "
                "a transformers ViTModel"
            )

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> unit vectors, float32 `[n, d]`, on the CPU."""

        def encode(chunk: Sequence[Image.Image]) -> Tensor:
            pixels = self.processor(list(chunk), return_tensors="pt").pixel_values
            tokens: Tensor = self.model(pixel_values=pixels).last_hidden_state
            return tokens[:, 0]

        return unit_vectors(self.name, encode, rgb_images(images, "pictures"), self.batch)
