"""Opening a base model: the toybox, a folder, one file, a hub name, or a loaded pipeline."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.utils import logging
from safetensors import SafetensorError

from cones.backbone import Backbone
from cones.errors import InputError
from cones.layers import model_name
from cones.toybox import weights

PREDICTION_TYPES = ("epsilon", "v_prediction")
TOYBOX = "toybox"


def load_backbone(
    model: str | os.PathLike[str] | StableDiffusionPipeline = TOYBOX,
    *,
    revision: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    amp: torch.dtype | None = None,
    local_files_only: bool = True,
) -> Backbone:
    """Opens a base model and freezes it.

    Args:
        model: "toybox" (the embedded model), a diffusers folder, one `.safetensors` checkpoint, a
            hub name, or a pipeline that is loaded already (used as it is).
        revision: of a hub name.
        device: where to put it; a GPU if there is one.
        dtype: of the weights.
        amp: of autocast in the search; None for none.
        local_files_only: False lets a hub name be downloaded.

    Raises:
        InputError: there is no such model, or it is of a kind that is not served.
    """
    if isinstance(model, DiffusionPipeline):
        pipeline, name = model, model_name(model)
    else:
        pipeline, name = _open(os.fspath(model), revision, dtype, local_files_only)
        _move(pipeline, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    _check(pipeline, name)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False).eval()
    pipeline.set_progress_bar_config(disable=True)
    return Backbone(pipeline, Path(name).name if Path(name).exists() else name, amp)


def _open(
    model: str, revision: str | None, dtype: torch.dtype, local_files_only: bool
) -> tuple[StableDiffusionPipeline, str]:
    path = weights("pipeline") if model == TOYBOX else Path(model)
    options = {"torch_dtype": dtype, "local_files_only": local_files_only}
    quiet = {"safety_checker": None, "requires_safety_checker": False}
    try:
        with _quiet():
            if path.is_file():
                if path.suffix != ".safetensors":
                    raise InputError(f"{path}: expected a .safetensors file; convert it first")
                return StableDiffusionPipeline.from_single_file(
                    str(path), **options, **quiet
                ), model
            source = str(path) if path.is_dir() else model
            return (
                StableDiffusionPipeline.from_pretrained(
                    source, revision=revision, use_safetensors=True, **options, **quiet
                ),
                model,
            )
    except (OSError, ValueError, TypeError, AttributeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"model {model!r}: cannot be opened ({reason}); expected 'toybox', a diffusers folder, "
            "a .safetensors file or the name of a downloaded model"
        ) from error


def _move(pipeline: StableDiffusionPipeline, device: str | torch.device) -> None:
    try:
        pipeline.to(device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without it
        if type(error).__name__ == "OutOfMemoryError":
            raise
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"device {str(device)!r}: cannot be used ({reason}); 'cpu' always can"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what diffusers says of an AutoencoderTiny in a Stable Diffusion pipeline."""
    loudness = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(loudness)


def _check(pipeline: StableDiffusionPipeline, name: str) -> None:
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        if getattr(pipeline, part, None) is None:
            raise InputError(
                f"model {name!r}: is a {type(pipeline).__name__} without a {part}; expected a "
                "Stable Diffusion pipeline"
            )
    unet = pipeline.unet.config
    if unet.addition_embed_type or unet.in_channels != unet.out_channels:
        raise InputError(
            f"model {name!r}: its UNet takes more than a noisy latent and a prompt (SDXL? "
            "inpainting?), which is not served; expected Stable Diffusion 1 or 2"
        )
    kind = pipeline.scheduler.config.get("prediction_type", "epsilon")
    if kind not in PREDICTION_TYPES:
        expected = " or ".join(PREDICTION_TYPES)
        raise InputError(f"model {name!r}: its scheduler predicts {kind!r}; expected {expected}")
