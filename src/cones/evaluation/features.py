"""Features of pictures and texts: the only part of the evaluation that runs a network."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from cones.checks import check_count, check_some
from cones.errors import InputError
from cones.models.images import squares, to_tensor
from cones.search.identity import modules_hash
from cones.subjects.photos import rgb_images


class Features(Protocol):
    """Pictures and texts as points of one space; both methods give unit vectors, float32."""

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> `[n, d]`."""
        ...

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Sentences -> `[n, d]`."""
        ...


class ClipFeatures:
    """The features of a CLIP.

    A CLIP without `preprocessor_config.json` sees pictures as a base model does: the centre square,
    scaled to the model's side, RGB in [-1, 1].

    Attributes:
        model: the network.
        tokenizer: of its texts.
        processor: scales pictures as it was trained with; None where there is none.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | torch.device = "cpu",
        batch: int = 64,
        local_files_only: bool = True,
    ) -> None:
        """Open a CLIP.

        Args:
            model: a folder with a transformers CLIPModel or VisionTextDualEncoderModel and its
                tokenizer, or a hub name.
            device: where to compute.
            batch: pictures or texts at once.
            local_files_only: False lets a hub name be downloaded.

        Raises:
            InputError: there is no such model, or not all of it.
        """
        self.name, self.batch = str(model), check_count("batch", batch)
        self.device, self.processor = torch.device(device), None
        options = {"local_files_only": local_files_only}
        with opening(model, "CLIP", "a transformers CLIPModel and its tokenizer"):
            self.model = whole_network(model, **options)
            self.tokenizer = AutoTokenizer.from_pretrained(model, **options)
            if not Path(model).is_dir() or (Path(model) / "preprocessor_config.json").exists():
                from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

                self.processor = CLIPImageProcessorPil.from_pretrained(model, **options)
        if not hasattr(self.model, "visual_projection"):
            raise InputError(
                f"{model}: expected a CLIP, found {type(self.model).__name__}; name the folder of "
                "a transformers CLIPModel or VisionTextDualEncoderModel"
            )
        self.model.to(self.device)
        positions = self.model.config.text_config.max_position_embeddings
        self._length = min(self.tokenizer.model_max_length, positions)

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> unit vectors, float32 `[n, d]`, on the CPU."""

        def encode(chunk: Sequence[Image.Image]) -> Tensor:
            pixels = self.preprocess(chunk).to(self.device)
            pooled = self.model.vision_model(pixel_values=pixels).pooler_output
            projected: Tensor = self.model.visual_projection(pooled.flatten(1))
            return projected

        return unit_vectors(self.name, encode, rgb_images(images, "pictures"), self.batch)

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB pictures -> what the vision tower reads, float32 `[n, 3, side, side]`."""
        if self.processor is None:
            side = self.model.config.vision_config.image_size
            return to_tensor(squares(images, side))
        pixels: Tensor = self.processor(list(images), return_tensors="pt").pixel_values
        return pixels

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Sentences -> unit vectors, float32 `[n, d]`, on the CPU."""

        def encode(chunk: Sequence[str]) -> Tensor:
            tokens = self.tokenizer(
                list(chunk),
                padding="max_length",
                truncation=True,
                max_length=self._length,
                return_tensors="pt",
            )
            pooled = self.model.text_model(**tokens.to(self.device)).pooler_output
            projected: Tensor = self.model.text_projection(pooled)
            return projected

        return unit_vectors(self.name, encode, texts, self.batch)


@contextmanager
def opening(model: str | Path, kind: str, expected: str) -> Iterator[None]:
    """While the block runs, what goes wrong is one line about a model of some kind."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # transformers raises nearly anything
        raise InputError(
            f"{model}: cannot be opened as a {kind} ({' '.join(str(error).split())[:120]}); "
            f"expected a folder with {expected}, or --allow_download for a hub name"
        ) from error


def whole_network(model: str | Path, **options: Any) -> Any:
    """A network of transformers, frozen, in float32.

    Raises:
        InputError: weights are missing, for which transformers would take random ones.
    """
    network, told = AutoModel.from_pretrained(
        model, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
    )
    if missing := sorted(told["missing_keys"]):
        raise InputError(
            f"{model}: lacks {len(missing)} weights, such as {missing[0]}; load a whole copy"
        )
    return network.eval().requires_grad_(False)


@torch.no_grad()
def unit_vectors(
    name: str, encode: Callable[[Sequence[Any]], Tensor], items: Sequence[Any], batch: int
) -> Tensor:
    """What a network makes of items, so many at once: unit vectors, float32 `[n, d]`, on the CPU.

    Raises:
        InputError: there are no items, or a vector has no direction.
    """
    items = check_some("features: items", items)
    parts = [encode(items[k : k + batch]).float().cpu() for k in range(0, len(items), batch)]
    vectors = torch.cat(parts)
    lengths = vectors.norm(dim=-1)
    if not (lengths.isfinite() & (lengths > 0)).all():
        raise InputError(
            f"{name}: gives features that are NaN, infinite or zero; load an undamaged copy of it"
        )
    return torch.nn.functional.normalize(vectors, dim=-1)


def features_hash(several: Iterable[object]) -> str:
    """A hash of all that features depend on: networks, and how they are shown pictures."""
    opened = list(several)
    networks = [getattr(each, "model", None) for each in opened]
    found = modules_hash(each for each in networks if isinstance(each, nn.Module))
    processors = [getattr(each, "processor", None) for each in opened]
    told = [each.to_json_string() for each in processors if each is not None]
    return hashlib.sha256("".join([found, *told]).encode()).hexdigest()[:16] if told else found
