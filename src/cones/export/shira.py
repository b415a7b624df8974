"""A SHiRA adapter (sparse high-rank adapter) as a folder for PEFT: indices and values.

PEFT adds the values to the weight at the indices. It counts the places of a layer by one rank for
all layers, as r (in + out); places that are too many are of other weights and have the value 0.
"""

import json
import os

import numpy as np
import torch
from safetensors.torch import save_file

from cones.errors import InputError
from cones.export.differences import Differences, differences
from cones.export.folders import new_folder
from cones.models.backbone import Backbone
from cones.neurons.codec import Indices
from cones.neurons.concept_neurons import ConceptNeurons

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
INDICES, VALUES = ".shira_indices", ".shira_weight"


def save(
    backbone: Backbone,
    neurons: ConceptNeurons,
    path: str | os.PathLike[str],
    strength: float | None = None,
) -> None:
    """Writes the folder; load it with `PeftModel.from_pretrained(pipeline.unet, path)`.

    Args:
        backbone: of any family.
        neurons: shut or tuned.
        path: a new or an empty folder.
        strength: what PEFT's scale 1 stands for; None for what the neurons recommend.

    Raises:
        InputError: there are no neurons or too many for SHiRA, or `path` cannot be written.
        BaseModelError: the neurons are of a model of another layout.
    """
    values = differences(backbone, neurons, strength)
    rank = _rank(neurons, values)
    tensors = {}
    for layer, value in values.items():
        shape = neurons.shapes[layer]
        index, padded = _padded(neurons.indices[layer], value, shape, rank * sum(shape))
        places = np.stack(np.divmod(index, shape[1])).astype(np.int32)
        tensors[f"{PREFIX}{layer}{INDICES}"] = torch.from_numpy(places)
        tensors[f"{PREFIX}{layer}{VALUES}"] = torch.from_numpy(padded)
    config = {
        "base_model_name_or_path": neurons.base.name or backbone.name,
        "inference_mode": True,
        "mask_type": "random",  # PEFT draws one and then reads the indices over it
        "peft_type": "SHIRA",
        "r": rank,
        "target_modules": list(values),
    }
    with new_folder(path) as folder:
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _rank(neurons: ConceptNeurons, values: Differences) -> int:
    """The least rank that has a place for each neuron.

    Raises:
        InputError: there is none: a layer has too many neurons.
    """
    shapes = {layer: neurons.shapes[layer] for layer in values}
    rank = max(-(-len(value) // sum(shapes[layer])) for layer, value in values.items())
    for layer, (out, into) in shapes.items():
        if rank * (out + into) > out * into:
            raise InputError(
                f"{layer}: SHiRA has {rank * (out + into)} places at the rank {rank}, which the "
                f"neurons of the fullest layer need, found {out * into} weights; use --to diffusers"
            )
    return rank


def _padded(
    index: Indices, values: np.ndarray, shape: tuple[int, int], count: int
) -> tuple[Indices, np.ndarray]:
    """`count` places in order with their values: the neurons, and the first others with 0."""
    free = np.ones(shape, np.bool_).reshape(-1)
    free[index] = False
    others = np.flatnonzero(free)[: count - len(index)]
    places = np.concatenate([index, others])
    order = np.argsort(places)
    return places[order], np.concatenate([values, np.zeros(len(others), np.float32)])[order]
