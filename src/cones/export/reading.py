"""Adapters of other programs as neurons: where what they add is exactly the negative weight."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from cones.errors import InputError
from cones.export import kohya, shira
from cones.files.paths import local_path
from cones.models.backbone import Backbone
from cones.models.checkpoints import Header
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.projections import projections, shapes
from cones.neurons.shutting import base_fingerprint


def read_neurons(
    backbone: Backbone, path: str | os.PathLike[str], subjects: Sequence[SubjectInfo]
) -> ConceptNeurons:
    """The neurons that an adapter shuts.

    Args:
        backbone: the base model that the adapter is for.
        path: a SHiRA adapter of PEFT (its folder or its weights), or a `.safetensors` file of
            `.diff` tensors as `cones.export.kohya` writes it.
        subjects: what prompts call the subjects.

    Raises:
        InputError: it is no such adapter, or it changes weights in another way than to 0.
    """
    file = local_path(path)
    file = file / shira.WEIGHTS if file.is_dir() else file
    tensors = _read(file)
    weights = _weights(backbone, tensors)
    known = _tensor_names(backbone, weights)
    if unknown := sorted(tensors.keys() - known.keys()):
        raise InputError(
            f"{file}: holds {unknown[0]}, which is no SHiRA and no .diff tensor of a key or value "
            "projection of this model; expected an adapter of neurons, and its base model"
        )
    indices, others, total = {}, 0, 0
    for layer in sorted({known[name] for name in tensors}):
        weight = weights[layer].detach().cpu()
        added = _added(layer, weight, {n: t for n, t in tensors.items() if known[n] == layer})
        index = added.reshape(-1).nonzero().view(-1)
        negative = (-weight).to(added.dtype).view(-1)
        others += int((added.view(-1)[index] != negative[index]).sum())
        total += len(index)
        indices[layer] = index.numpy()
    if others or not total:
        raise InputError(
            f"{file}: adds something else than the negative weight at {others} of the {total} "
            "places that it changes; expected neurons, shut at strength 1, and their base model"
        )
    return ConceptNeurons(
        shapes(weights),
        indices,
        subjects=tuple(subjects),
        base=BaseInfo(backbone.name, base_fingerprint(backbone)),
        info={"algorithm": "imported"},
    )


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError(
            f"{file}: there is no such file; expected a .safetensors file of .diff tensors, or the "
            "folder of a SHiRA adapter"
        )
    Header.of(file)  # which says what is wrong with a file that is none
    return dict(load_file(file))


def _weights(backbone: Backbone, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text's projections, or all if the adapter changes others than these."""
    text: dict[str, Tensor] = {**projections(backbone)}
    if tensors.keys() <= _tensor_names(backbone, text).keys():
        return text
    return {**projections(backbone, "all")}


def _tensor_names(backbone: Backbone, layers: Mapping[str, Tensor]) -> dict[str, str]:
    """What tensors of an adapter may be called -> the layer that they change."""
    config: Any = backbone.denoiser.config
    found = {}
    for layer in layers:
        for ending in (shira.INDICES, shira.VALUES):
            found[f"{shira.PREFIX}{layer}{ending}"] = layer
        if kohya.is_unet(backbone):
            for names in get_args(kohya.Names):
                name = kohya.tensor_name(layer, names, config.layers_per_block)
                found[name + kohya.DIFF] = layer
    return found


def _added(layer: str, weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """What the tensors of one layer add to its weight, of its shape.

    Raises:
        InputError: they are of another shape or type, or name a place twice or outside.
    """
    found = {name.rpartition(".")[2]: tensor for name, tensor in tensors.items()}
    fault = f"{layer}: expected one addition to the weight {list(weight.shape)}, found "
    if found.keys() == {"diff"}:
        added = found["diff"]
        if len(tensors) > 1 or added.shape != weight.shape or not added.is_floating_point():
            raise InputError(f"{fault}{len(tensors)} of {list(added.shape)}, {added.dtype}")
        return added
    if found.keys() != {"shira_indices", "shira_weight"}:
        raise InputError(f"{fault}only {' and '.join(sorted(found))}")
    places, values = found["shira_indices"].long(), found["shira_weight"]
    if places.shape != (2, values.numel()) or values.ndim != 1 or not values.is_floating_point():
        raise InputError(f"{fault}indices {list(places.shape)} and values {list(values.shape)}")
    inside = (places >= 0) & (places < torch.tensor(weight.shape).view(2, 1))
    flat = places[0] * weight.shape[1] + places[1]
    if not inside.all() or len(np.unique(flat.numpy())) != len(values):
        raise InputError(f"{fault}places outside of it, or one twice")
    return torch.zeros(weight.numel(), dtype=values.dtype).put_(flat, values).view(weight.shape)
