"""From a name to a pipeline: embedded, a folder, one file, or a downloaded model of the hub."""

import inspect
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import diffusers
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from diffusers.utils import logging
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import PreTrainedModel

from cones.errors import InputError, is_out_of_memory
from cones.models.checkpoints import Checkpoint
from cones.models.devices import default_dtype
from cones.models.diffusers_private import CheckpointError
from cones.models.families import check_served
from cones.models.folders import INDEX, ModelFolder, check_complete

DEFAULT = "toybox"
# Models that come with the package -> what gives the folder of their parts; imported when they are
# asked for, so that nothing here depends on them.
EMBEDDED = {DEFAULT: "cones.toybox:weights"}
HUB_NAME = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")
CONFIGURATION = ["*.json", "*.txt", "*.model"]  # what a model's files hold besides weights
CANNOT_OPEN = (
    OSError, ValueError, TypeError, AttributeError, LookupError, NameError, RuntimeError,
    ImportError, SafetensorError, CheckpointError,
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """How a model that is named is to be opened; see `cones.models.loading.load_backbone`."""

    device: torch.device
    dtype: torch.dtype | None = None
    amp: torch.dtype | None = None
    revision: str | None = None
    variant: str | None = None
    prediction_type: str | None = None
    local_files_only: bool = True

    def dtype_of(self, stored: str) -> torch.dtype:
        """The type to load weights as that are stored as another."""
        if self.dtype is not None:
            return self.dtype
        return torch.float32 if self.amp else default_dtype(self.device, stored)


def open_pipeline(model: str, request: Request) -> DiffusionPipeline:
    """Opens the model of a name, on the CPU.

    Raises:
        InputError: there is none, it is of a kind that is not served, or what is requested of it
            cannot be.
    """
    path = resolve_name(EMBEDDED[model])("pipeline") if model in EMBEDDED else Path(model)
    try:
        with _quiet():
            if path.is_file():
                _refuse_beside("one file", revision=request.revision, variant=request.variant)
                return _open_file(path, request)
            if not path.is_dir():
                path = _downloaded(model, request)
            else:
                _refuse_beside("a folder", revision=request.revision)
            return _open_folder(path, request)
    except CANNOT_OPEN as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"model {model!r}: cannot be opened ({reason}); expected 'toybox', a diffusers folder, "
            "a .safetensors file or the name of a downloaded model"
        ) from error


def _refuse_beside(what: str, **options: str | None) -> None:
    """Refuses options that have no meaning beside what is opened."""
    for name, found in options.items():
        if found is not None:
            raise InputError(f"{name} {found!r}: is of a hub name, but the model is {what}")


def _downloaded(model: str, request: Request) -> Path:
    """The folder of a hub name on this machine."""
    at = f" at revision {request.revision!r}" if request.revision else ""
    if not HUB_NAME.fullmatch(model) or Path(model).suffix in (".safetensors", ".ckpt", ".gguf"):
        raise InputError(f"model {model!r}: there is no such file or folder; check the path")
    try:
        if request.local_files_only:
            return Path(snapshot_download(model, revision=request.revision, local_files_only=True))
        return Path(
            DiffusionPipeline.download(
                model, revision=request.revision, variant=request.variant, use_safetensors=True
            )
        )
    except CANNOT_OPEN as error:
        if request.local_files_only:
            raise InputError(
                f"model {model!r}{at}: is no file or folder, and not among this machine's "
                "downloads; if it is a hub name, let it be downloaded (--allow_download)"
            ) from error
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"model {model!r}{at}: cannot be downloaded ({reason}); check the name, the network, "
            "and whether it has only files of a variant (--variant fp16)"
        ) from error


def _open_folder(path: Path, request: Request) -> DiffusionPipeline:
    """A folder; what it is, and that it is whole, is known before its weights are read."""
    folder = ModelFolder.of(path)
    kind = _kind(str(path), folder.index)
    variant = folder.variant(request.variant)
    headers = folder.headers(variant)
    denoiser = headers.get("unet") or headers.get("transformer")
    pipeline: DiffusionPipeline = kind.from_pretrained(
        str(path),
        variant=variant,
        use_safetensors=True,
        torch_dtype=request.dtype_of(denoiser[0].stored if denoiser else "F32"),
        local_files_only=True,
        **_unchecked(kind),
    )
    for part, each in headers.items():
        module = getattr(pipeline, part)
        if isinstance(module, PreTrainedModel):  # diffusers leaves such weights empty instead
            check_complete(path / part, each, module)
    return _predicting(pipeline, request.prediction_type)


def _open_file(path: Path, request: Request) -> DiffusionPipeline:
    """One file: the weights tell what they are of, whose configuration the hub has."""
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path}: expected a .safetensors file; convert it first, where you trust it"
        )
    checkpoint = Checkpoint.of(path)
    prediction = request.prediction_type or checkpoint.prediction
    try:
        folder = snapshot_download(
            checkpoint.base,
            allow_patterns=CONFIGURATION,
            local_files_only=request.local_files_only,
        )
    except OSError as error:
        raise InputError(
            f"{path}: is a checkpoint like {checkpoint.base}, whose configuration and tokenizer "
            "are not on this machine; allow their download once (--allow_download), or give the "
            "model as a diffusers folder"
        ) from error
    kind = _kind(str(path), json.loads((Path(folder) / INDEX).read_text()))
    without = {"text_encoder_3": None, "tokenizer_3": None} if checkpoint.lacks_t5 else {}
    pipeline: Any = kind.from_single_file(
        str(path),
        config=folder,
        torch_dtype=request.dtype_of(checkpoint.header.stored),
        local_files_only=True,
        **_unchecked(kind),
        **without,
    )
    if checkpoint.kind == "v2" and prediction == "epsilon":
        pipeline.unet.register_to_config(sample_size=64)  # the configuration is of 768 pixels
    return _predicting(pipeline, prediction, checkpoint.has_zero_snr)


def _predicting(pipeline: Any, prediction: str | None, zero_snr: bool = False) -> DiffusionPipeline:
    """The pipeline with a scheduler that knows what the denoiser predicts."""
    config = pipeline.scheduler.config
    if prediction is not None and "prediction_type" not in config:
        raise InputError(
            f"prediction_type {prediction!r}: is of models that predict noise or velocity, found a "
            f"{type(pipeline).__name__}; leave it out"
        )
    if zero_snr:
        # Only at the last timestep there is no signal: drawing has to begin there.
        changes = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        pipeline.scheduler = DDIMScheduler.from_config(
            config, prediction_type=prediction or config.prediction_type, **changes
        )
    elif prediction is not None:
        kind = type(pipeline.scheduler)
        pipeline.scheduler = kind.from_config(config, prediction_type=prediction)
    found: DiffusionPipeline = pipeline
    return found


def _kind(model: str, index: Mapping[str, Any]) -> Any:
    """The class of a pipeline by its configuration."""
    name = str(index.get("_class_name"))
    check_served(model, [name])
    return getattr(diffusers, name)


def _unchecked(kind: Any) -> dict[str, object]:
    """What opens a Stable Diffusion without its safety checker, a second model."""
    options: dict[str, object] = {"safety_checker": None, "requires_safety_checker": False}
    return options if options.keys() <= inspect.signature(kind).parameters.keys() else {}


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
