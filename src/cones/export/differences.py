"""What shutting adds to the weights: the one number for each neuron that adapters store."""

import numpy as np
import numpy.typing as npt
import torch

from cones.errors import InputError
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.projections import denoiser
from cones.neurons.shutting import shut

Differences = dict[str, npt.NDArray[np.float32]]


def differences(model: object, neurons: ConceptNeurons, strength: float | None) -> Differences:
    """Layer -> shut weight minus weight at each neuron, float32 [count]; no layer without neurons.

    At strength 1 it is exactly the negative of the weight.

    Args:
        model: a denoiser, a diffusers pipeline or a backbone.
        neurons: shut or tuned.
        strength: None for what the neurons recommend.

    Raises:
        InputError: there are no neurons, the strength is out of range, or the model's weights are
            not plain.
        BaseModelError: the neurons are of a model of another layout.
    """
    if not len(neurons):
        raise InputError("no neurons to export; an adapter needs at least one")
    with shut(model, neurons, strength):
        shut_values = _at(model, neurons)
    values = _at(model, neurons)
    return {layer: shut_values[layer] - values[layer] for layer in values}


def _at(model: object, neurons: ConceptNeurons) -> Differences:
    """The weights at the neurons, as they are now."""
    network = denoiser(model)
    found = {}
    for layer, index in neurons.indices.items():
        if len(index):
            weight = network.get_parameter(f"{layer}.weight").detach().view(-1)
            at = torch.tensor(index, device=weight.device)
            found[layer] = weight[at].to("cpu", torch.float32).numpy()
    return found
