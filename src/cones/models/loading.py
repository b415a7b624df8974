"""Opening a base model: the embedded one, a folder, one file, a hub name, or a loaded pipeline."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline
from torch import nn

from cones.checks import check_choice, check_kind
from cones.errors import InputError
from cones.files.paths import local_name
from cones.models.backbone import Backbone
from cones.models.devices import device_of, warn_if_slow
from cones.models.diffusers_private import is_hooked
from cones.models.families import check_served
from cones.models.weights import DEFAULT, Request, open_pipeline
from cones.neurons.blocks import Block
from cones.neurons.projections import denoiser, model_name, projections

Prediction = Literal["epsilon", "v_prediction"]
HALVES = (torch.float16, torch.bfloat16)
DTYPES = (torch.float32, *HALVES, torch.float64)


def load_backbone(
    model: str | os.PathLike[str] | DiffusionPipeline = DEFAULT,
    *,
    revision: str | None = None,
    variant: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    amp: torch.dtype | None = None,
    scheduler: str | None = None,
    prediction_type: Prediction | None = None,
    local_files_only: bool = True,
    gradient_checkpointing: bool = False,
) -> Backbone:
    """Opens a base model and freezes it.

    Args:
        model: "toybox" (the embedded model), a diffusers folder, one `.safetensors` checkpoint, a
            hub name, or a pipeline that is loaded already (used as it is: what is asked of it
            besides must be so already). It is of one of `cones.models.families`.
        revision: of a hub name.
        variant: of the files in a folder or of a hub name, such as "fp16"; None for the plain
            files, or, where there are none, for the only variant.
        device: where to put it; None for a GPU if there is one (CUDA, or Apple's MPS).
        dtype: of the weights; None for float32 on a CPU or with `amp`, else for bfloat16 where
            they are stored so, else for float16.
        amp: of autocast in the search; None for none.
        scheduler: to draw with, by its name in diffusers; None for DPM-Solver++ (2M), or Euler
            steps in a flow. It draws only: the noise of the search is the model's own.
        prediction_type: what the denoiser predicts, where the model's files are wrong about it.
        local_files_only: False lets a hub name be downloaded.
        gradient_checkpointing: whether a search computes parts of the forward pass twice rather
            than keep them: less memory, more time, the same gradients.

    Raises:
        InputError: there is no such model, it is of a kind that is not served, or what is asked of
            it cannot be.
    """
    request = None
    if amp is not None:
        check_choice("amp", amp, HALVES)
    if isinstance(model, DiffusionPipeline):
        pipeline, name = model, model_name(model)
        _check_as_asked(name, pipeline, device, dtype, prediction_type, revision or variant)
    else:
        check_kind("model", model, (str, os.PathLike), "a name, a path or a pipeline")
        if dtype is not None:
            check_choice("dtype", dtype, DTYPES)
        name = local_name(model)
        request = Request(
            device_of(device), dtype, amp, revision, variant, prediction_type, local_files_only
        )
        pipeline = open_pipeline(name, request)
    backbone = _checked(pipeline, name, amp, scheduler)
    if request is not None:
        pipeline.to(request.device)
        if request.device.type == "cuda":
            _channels_last(pipeline)
    if gradient_checkpointing:
        _checkpoint(name, backbone.denoiser)
    _check_autocast(backbone.dtype, amp)
    warn_if_slow(backbone.device, backbone.dtype, amp)
    return backbone


def _checked(
    pipeline: DiffusionPipeline, name: str, amp: torch.dtype | None, scheduler: str | None
) -> Backbone:
    """A pipeline as a backbone, frozen; refuses what cannot be searched or drawn with."""
    check_served(name, [kind.__name__ for kind in type(pipeline).__mro__])
    parts = {
        part: each for part, each in pipeline.components.items() if isinstance(each, nn.Module)
    }
    for part, module in parts.items():
        _check_in_place(name, part, module)
    _check_alike(name, parts)
    shown = Path(name).name if Path(name).exists() else name
    backbone = Backbone(pipeline, shown, amp, scheduler)
    backbone.family.check(name)
    backbone.family.solver(scheduler)  # which refuses those that do not fit
    for module in parts.values():
        module.requires_grad_(False).eval()
    with Block(pipeline):
        projections(pipeline)  # which refuses weights that are not plain
    pipeline.set_progress_bar_config(disable=True)
    return backbone


def _channels_last(pipeline: DiffusionPipeline) -> None:
    """Lays a UNet's convolutions out as GPUs compute them fastest; no value changes."""
    if (unet := getattr(pipeline, "unet", None)) is not None:
        unet.to(memory_format=torch.channels_last)


def _checkpoint(name: str, network: Any) -> None:
    """Turns diffusers' own gradient checkpointing on."""
    try:
        network.enable_gradient_checkpointing()
    except (AttributeError, ValueError) as error:
        raise InputError(
            f"model {name!r}: its denoiser, {type(network).__name__}, has no gradient "
            "checkpointing; leave out --gradient_checkpointing and use a smaller --batch"
        ) from error


# -- refusals --------------------------------------------------------------------------------------


def _check_as_asked(
    name: str,
    pipeline: Any,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    prediction_type: str | None,
    files: str | None,
) -> None:
    """Refuses to change a pipeline that its owner has loaded: what is asked must be so already."""
    if files is not None:
        raise InputError(
            f"model {name!r}: is loaded already; revision and variant {files!r} are for a name"
        )
    weight = next(denoiser(pipeline).parameters())
    wanted = device_of(device) if device is not None else weight.device
    if wanted.type != weight.device.type or wanted.index not in (None, weight.device.index):
        raise InputError(
            f"device: expected {weight.device}, where the pipeline is, or none, found {device}; "
            "move it first: pipeline.to(device)"
        )
    if dtype not in (None, weight.dtype):
        raise InputError(
            f"dtype: expected {weight.dtype}, which the pipeline has, or none, found {dtype}; "
            "change it first: pipeline.to(dtype)"
        )
    found = pipeline.scheduler.config.get("prediction_type")
    if prediction_type not in (None, found):
        raise InputError(
            f"prediction_type: expected {found}, which the pipeline's scheduler has, or none, "
            f"found {prediction_type}; give the pipeline another scheduler"
        )


def _check_autocast(dtype: torch.dtype, amp: torch.dtype | None) -> None:
    """Refuses autocast to one half type of a model in the other."""
    if amp is not None and dtype in HALVES and amp != dtype:
        raise InputError(
            f"amp: expected none or {dtype}, which the weights are in, found {amp}; load them in "
            "float32 for autocast (--dtype float32)"
        )


def _check_in_place(name: str, part: str, module: nn.Module) -> None:
    """Refuses a component that does not compute with its own weights, as they are, where it is.

    Raises:
        InputError: it is offloaded, spread by a device map, caches what it has computed, or lacks
            weights.
    """
    if is_hooked(module):
        raise InputError(
            f"model {name!r}: its {part} is offloaded or cached by hooks; load the model without "
            "offloading, caching, layerwise casting and device maps"
        )
    for weight, value in module.named_parameters():
        if value.is_meta:
            raise InputError(
                f"model {name!r}: its {part} lacks the weight {weight}; download or copy it again"
            )


def _check_alike(name: str, parts: Mapping[str, nn.Module]) -> None:
    """Refuses components on several devices or in several types: they cannot work together."""
    places: dict[str, str] = {}
    for part, module in parts.items():
        weight = next((each for each in module.parameters() if each.is_floating_point()), None)
        if weight is not None:
            places.setdefault(f"{weight.device}, {weight.dtype}", part)
    if len(places) > 1:
        found = " and ".join(f"{part} ({place})" for place, part in places.items())
        raise InputError(
            f"model {name!r}: expected all components on one device in one type, found {found}; "
            "move them together: pipeline.to(device, dtype)"
        )
