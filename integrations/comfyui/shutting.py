# Copyright the Cones authors. Licensed under the Apache License, Version 2.0; see LICENSE.
"""Neuron files as patches of ComfyUI's ModelPatcher."""

import comfy.lora
import torch
from comfy.weight_adapter.base import WeightAdapterBase

from cones.errors import BaseModelError
from cones.neurons.union import union


class Shutting(WeightAdapterBase):
    """A patch of one weight: w -> (1 - s) w at the neurons, or w + s (v - w) with tuned values v.

    It keeps only the neurons, so it takes no more memory than their indices.
    """

    name = "cones"

    def __init__(self, loaded_keys, weights):
        """For `weights`: flat indices, int64 [count]; tuned values, float32 [count], or None."""
        self.loaded_keys = loaded_keys
        self.weights = weights

    def calculate_weight(
        self,
        weight,
        key,
        strength,
        strength_model,
        offset,
        function,
        intermediate_dtype=torch.float32,
        original_weight=None,
    ):
        """Changes the weight in place, as ComfyUI's own adapters do."""
        index, values = (each if each is None else each.to(weight.device) for each in self.weights)
        flat = weight.view(-1)
        before = flat[index]
        if values is None:
            flat[index] = before * (1 - strength)
        else:
            flat[index] = torch.lerp(before, values.to(before), strength)
        return weight


def shut(patcher, paths, strength=None):
    """A copy of a ModelPatcher with the neurons of all files shut; the given one stays as it is.

    Args:
        patcher: of a UNet: Stable Diffusion 1, 2 or XL.
        paths: of neuron files, which are united.
        strength: in [0, 2]; None for what the files recommend.

    Raises:
        NeuronFileError: a file is no neuron file.
        BaseModelError: the neurons are of a model of another layout.
    """
    neurons = union(paths)
    places = comfy.lora.model_lora_keys_unet(patcher.model, {})
    state = patcher.model.state_dict()
    patches = {}
    for layer, index in neurons.indices.items():
        key = places.get(f"lora_unet_{layer.replace('.', '_')}")
        found = tuple(state[key].shape) if key in state else "none"
        if found != neurons.shapes[layer]:
            raise BaseModelError(
                f"{layer}: expected the shape {neurons.shapes[layer]} of the neurons' base model "
                f"({neurons.base.name or 'unknown'}), found {found}; load that base model"
            )
        if len(index):
            values = neurons.values and torch.tensor(neurons.values[layer])
            patches[key] = Shutting({key}, (torch.tensor(index), values))
    copy = patcher.clone()
    copy.add_patches(patches, neurons.strength if strength is None else strength)
    return copy
