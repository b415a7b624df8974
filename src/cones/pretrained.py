"""Opening a base model: the toybox, a folder, one file, a hub name, or a loaded pipeline."""

import inspect
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.hooks.group_offloading import _is_group_offload_enabled
from diffusers.loaders.single_file_utils import (
    SingleFileComponentError,
    fetch_diffusers_config,
    load_single_file_checkpoint,
)
from diffusers.utils import logging
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from torch import nn

from cones.backbone import Backbone
from cones.errors import InputError
from cones.families import check_served
from cones.layers import model_name, projections
from cones.toybox import weights

TOYBOX = "toybox"
CONFIGURATION = ["*.json", "*.txt", "*.model"]  # what a model's files hold besides weights
CANNOT_OPEN = (
    OSError, ValueError, TypeError, AttributeError, KeyError, RuntimeError, ImportError,
    SafetensorError, SingleFileComponentError,
)  # fmt: skip


def load_backbone(
    model: str | os.PathLike[str] | DiffusionPipeline = TOYBOX,
    *,
    revision: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    amp: torch.dtype | None = None,
    local_files_only: bool = True,
    gradient_checkpointing: bool = False,
) -> Backbone:
    """Opens a base model and freezes it.

    Args:
        model: "toybox" (the embedded model), a diffusers folder, one `.safetensors` checkpoint, a
            hub name, or a pipeline that is loaded already (used as it is). It is of one of
            `cones.families`.
        revision: of a hub name.
        device: where to put it; a GPU if there is one.
        dtype: of the weights.
        amp: of autocast in the search; None for none.
        local_files_only: False lets a hub name be downloaded.
        gradient_checkpointing: whether a search computes parts of the forward pass twice rather
            than keep them: less memory, more time, the same gradients.

    Raises:
        InputError: there is no such model, or it is of a kind that is not served.
    """
    if isinstance(model, DiffusionPipeline):
        pipeline, name = model, model_name(model)
    else:
        name = os.fspath(model)
        pipeline = _open(name, revision, dtype, local_files_only)
        _move(pipeline, device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if pipeline.device.type == "cuda":
            _channels_last(pipeline)
    check_served(name, [kind.__name__ for kind in type(pipeline).__mro__])
    backbone = Backbone(pipeline, Path(name).name if Path(name).exists() else name, amp)
    backbone.family.check(name)
    parts = {
        part: each for part, each in pipeline.components.items() if isinstance(each, nn.Module)
    }
    for part, module in parts.items():
        _check_in_place(name, part, module)
        module.requires_grad_(False).eval()
    if gradient_checkpointing:
        _checkpoint(name, backbone.denoiser)
    projections(pipeline)  # which refuses weights that are not plain
    pipeline.set_progress_bar_config(disable=True)
    return backbone


def _open(
    model: str, revision: str | None, dtype: torch.dtype, local_files_only: bool
) -> DiffusionPipeline:
    path = weights("pipeline") if model == TOYBOX else Path(model)
    try:
        with _quiet():
            if path.is_file():
                return _open_file(path, dtype, local_files_only)
            return _open_folder(
                str(path) if path.is_dir() else model, revision, dtype, local_files_only
            )
    except CANNOT_OPEN as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        at = f" at revision {revision!r}" if revision else ""
        raise InputError(
            f"model {model!r}{at}: cannot be opened ({reason}); expected 'toybox', a diffusers "
            "folder, a .safetensors file or the name of a downloaded model"
        ) from error


def _open_folder(
    source: str, revision: str | None, dtype: torch.dtype, local_files_only: bool
) -> DiffusionPipeline:
    """A folder, or what a hub name stands for; its kind is known before its weights are read."""
    where = {"revision": revision, "local_files_only": local_files_only}
    kind = _kind(source, DiffusionPipeline.load_config(source, **where))
    pipeline: DiffusionPipeline = kind.from_pretrained(
        source, use_safetensors=True, torch_dtype=dtype, **where, **_unchecked(kind)
    )
    return pipeline


def _open_file(path: Path, dtype: torch.dtype, local_files_only: bool) -> DiffusionPipeline:
    """One file: the weights tell what they are of, whose configuration the hub has."""
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: expected a .safetensors file; convert it first")
    base = fetch_diffusers_config(load_single_file_checkpoint(str(path)))
    base_name = base["pretrained_model_name_or_path"]
    try:
        folder = snapshot_download(
            base_name, allow_patterns=CONFIGURATION, local_files_only=local_files_only
        )
    except OSError as error:
        raise InputError(
            f"{path}: is a checkpoint like {base_name}, whose configuration and tokenizer are not "
            "on this machine; allow their download once (--allow_download), or give the model as a "
            "diffusers folder"
        ) from error
    kind = _kind(str(path), json.loads((Path(folder) / "model_index.json").read_text()))
    pipeline: DiffusionPipeline = kind.from_single_file(
        str(path), config=folder, torch_dtype=dtype, local_files_only=True, **_unchecked(kind)
    )
    return pipeline


def _kind(model: str, configuration: dict[str, Any]) -> Any:
    """The class of a pipeline by its configuration."""
    name = str(configuration.get("_class_name"))
    check_served(model, [name])
    return getattr(diffusers, name)


def _unchecked(kind: Any) -> dict[str, object]:
    """What opens a Stable Diffusion without its safety checker, a second model."""
    options: dict[str, object] = {"safety_checker": None, "requires_safety_checker": False}
    return options if options.keys() <= inspect.signature(kind).parameters.keys() else {}


def _channels_last(pipeline: DiffusionPipeline) -> None:
    """Lays a UNet's convolutions out as GPUs compute them fastest; no value changes."""
    if (unet := getattr(pipeline, "unet", None)) is not None:
        unet.to(memory_format=torch.channels_last)


def _move(pipeline: DiffusionPipeline, device: str | torch.device) -> None:
    try:
        pipeline.to(device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without it
        if type(error).__name__ == "OutOfMemoryError":
            raise
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"device {str(device)!r}: cannot be used ({reason}); 'cpu' always can"
        ) from error


def _checkpoint(name: str, network: Any) -> None:
    """Turns diffusers' own gradient checkpointing on."""
    try:
        network.enable_gradient_checkpointing()
    except (AttributeError, ValueError) as error:
        raise InputError(
            f"model {name!r}: its denoiser, {type(network).__name__}, has no gradient "
            "checkpointing; leave out --gradient_checkpointing and use a smaller --batch"
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


def _check_in_place(name: str, part: str, module: nn.Module) -> None:
    """Refuses a component that hooks move about: its weights are not where they are computed with.

    Raises:
        InputError: it is offloaded, or spread by a device map.
    """
    if hasattr(module, "_hf_hook") or _is_group_offload_enabled(module):
        raise InputError(
            f"model {name!r}: its {part} is offloaded; load the model without offloading and "
            "without a device map"
        )
