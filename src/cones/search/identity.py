"""What a result depends on, all of it, as plain JSON: two results of one identity are equal.

Not in it are the machine and the versions of the libraries, on which only last bits depend.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from PIL import Image
from torch import nn

from cones.distributed import ALONE, Processes
from cones.errors import InputError
from cones.files.strict_json import parse_json
from cones.models.backbone import Backbone
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import neurons_hash
from cones.neurons.shutting import base_fingerprint
from cones.subjects.subject import Subject
from cones.text import printable

FORMAT = 1  # raise it when the same settings give another result, so that old ones are not taken
KEY = "identity"  # in a file's info
ORIGIN = ("method", "token", "class noun", "photographs", "base model")
SHOWN = 3  # differences in a line
_ORIGINS = {"architectures", "dtype", "torch_dtype", "transformers_version"}  # of a configuration

Identity = Mapping[str, Any]


def identity(
    method: str,
    model: Mapping[str, Any],
    subjects: Sequence[Subject],
    settings: Any,
    class_images: Mapping[str, Sequence[Image.Image]] | None = None,
    start: ConceptNeurons | None = None,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Return all that a result depends on.

    Args:
        method: what makes it: "find", or a name in `cones.methods.registry.METHODS`.
        model: `model_identity` of the base model.
        subjects: in their order.
        settings: a dataclass.
        class_images: images of a class, by its noun; the model draws those that are missing.
        start: neurons to begin with.
        processes: those that share the samples of each step.
    """
    images = class_images or {}
    return {
        "format": FORMAT,
        "method": method,
        "token": [subject.token for subject in subjects],
        "class noun": [subject.class_noun for subject in subjects],
        "photographs": [images_hash(subject.images) for subject in subjects],
        **model,
        **asdict(settings),
        "start": start and neurons_hash(start),
        "class images": [
            images_hash(given) if (given := images.get(subject.class_noun)) else "drawn"
            for subject in subjects
        ],
        "processes": processes.world,
        "prompts": [prompt for subject in subjects for prompt in subject.prompts()],
    }


def union_identity(method: str, neurons: ConceptNeurons, files: Sequence[str]) -> dict[str, Any]:
    """Return all that neurons made of neuron files depend on, by the hashes of the `files`."""
    return {
        "format": FORMAT,
        "method": method,
        "token": [subject.token for subject in neurons.subjects],
        "class noun": [subject.class_noun for subject in neurons.subjects],
        "base model": neurons.base.fingerprint,
        "files": sorted(files),
    }


def model_identity(backbone: Backbone) -> dict[str, Any]:
    """Return what tells a base model from others, in any part: all its weights are read."""
    pipeline, schedule = backbone.pipeline, backbone.pipeline.scheduler
    parts = {"denoiser": backbone.denoiser, **pipeline.components}
    modules = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    modules.pop("unet", modules.pop("transformer", None))  # the denoiser, perhaps compiled
    words = [part.get_vocab() for part in parts.values() if hasattr(part, "get_vocab")]
    with Block(backbone):  # nobody else may change them meanwhile
        weights = modules_hash(modules.values())
    return {
        "base model": base_fingerprint(backbone),
        "weights": weights,
        "configuration": _hash({name: _configuration(part) for name, part in modules.items()}),
        "tokenizer": _hash(words),
        "schedule": _hash([type(schedule).__name__, _configuration(schedule)]),
        "prediction type": schedule.config.get("prediction_type"),
        "dtype": str(backbone.dtype),
        "autocast": str(backbone.amp),
        "scheduler": backbone.scheduler or "default",
    }


def _configuration(part: Any) -> dict[str, Any]:
    """Return how a part of a pipeline computes, without where it was loaded from."""
    config = getattr(part, "config", {})
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return {key: value for key, value in values.items() if key[0] != "_" and key not in _ORIGINS}


def modules_hash(modules: Iterable[nn.Module]) -> str:
    """Return a hash of all weights of some networks, 16 hex digits."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(module.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)}\n".encode())
            digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def images_hash(images: Iterable[Image.Image]) -> str:
    """Return a hash of the pixels of some images, in their order, 16 hex digits."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.mode} {image.size}\n".encode())
        digest.update(image.tobytes())
    return digest.hexdigest()[:16]


def read_identity(text: str) -> dict[str, Any]:
    """Parse what a file's info says under `KEY`; empty where that is no identity."""
    try:
        found = parse_json(text)
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def differences(old: Identity, new: Identity) -> str:
    """Return what differs, as "token sks -> ohwx, steps 100 -> 200"; "" for nothing."""
    found = [
        f"{key} {_shown(old.get(key))} -> {_shown(new.get(key))}"
        for key in {**new, **old}
        if old.get(key) != new.get(key)
    ]
    rest = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + rest


def foreign(old: Identity, new: Identity) -> str:
    """`differences` of what two results are of, whatever their settings; "" for the same."""
    return differences(*({key: each.get(key) for key in ORIGIN} for each in (old, new)))


def _shown(value: object) -> str:
    """Return a value as it is shown in a line."""
    words = value if isinstance(value, list) else [value]
    return printable(", ".join("none" if word is None else str(word) for word in words), 32)


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
