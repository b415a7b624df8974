"""Shutting concept neurons: the weights become theta * M for a while, and then what they were."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from cones.errors import BaseModelError, BaseModelWarning, InputError
from cones.layers import denoiser, fingerprint, model_name, projections, shapes
from cones.neurons import ConceptNeurons, check_strength
from cones.union import Neurons, neuron_sets, union

Model = TypeVar("Model")

# Hashing takes longer than shutting, and inside another shutting it would hash the wrong weights:
# each denoiser is hashed once, before its first shutting. (Trained on later, it is not seen.)
_fingerprints: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


@contextmanager
def shut(
    model: Model,
    neurons: Neurons | Iterable[Neurons],
    strength: float | None = None,
) -> Iterator[Model]:
    """Shuts concept neurons in a model while the block runs: theta * (1 - strength * (1 - M)).

    The weights are changed in place, at the neurons only, and restored bit for bit when the block
    ends, by an exception too. Blocks may be nested, also with neurons in common; the inner one ends
    first. Several subjects are best given together: nested, a neuron of both is shut twice, which
    is once more at strength 1 but a flip back at 2.

    Args:
        model: a denoiser (float16, bfloat16, float32), a diffusers pipeline or a backbone.
        neurons: those of one file, or of several, which are united.
        strength: in [0, 2]; 1 sets the weights to exactly 0, 2 to exactly their negatives. Tuned
            neurons go towards their values instead of 0. None: what the neurons recommend.

    Yields:
        The same `model`.

    Raises:
        InputError: the strength is out of range, no neurons are given, or the model's weights are
            not plain (`cones.layers.projections`).
        BaseModelError: the neurons are of a model of another layout.

    Warns:
        BaseModelWarning: the neurons are of a model of this layout with other weights.
    """
    if not (sets := neuron_sets(neurons)):
        raise InputError("no neurons to shut; give at least one set")
    neurons = union(sets)
    strength = neurons.strength if strength is None else check_strength(strength)
    weights = matching_weights(model, neurons)
    plan = [
        (weight, *_shut_values(weight, neurons, layer, strength))
        for layer, weight in weights.items()
        if len(neurons.indices[layer])
    ]
    try:
        for weight, index, _, shut_values in plan:
            _put(weight, index, shut_values)
        yield model
    finally:
        for weight, index, original, _ in plan:
            _put(weight, index, original)


def matching_weights(model: object, neurons: ConceptNeurons) -> dict[str, nn.Parameter]:
    """The model's weights that the neurons index: layer -> parameter [out, in].

    Args:
        model: a denoiser, a diffusers pipeline or a backbone.
        neurons: found among the text's projections or among all, see `cones.layers.projections`.

    Raises:
        InputError: the model's weights are not plain.
        BaseModelError: names or shapes of the layers differ.

    Warns:
        BaseModelWarning: they do not, but the fingerprint does.
    """
    weights = projections(model)
    if not neurons.shapes.keys() <= weights.keys():
        weights = projections(model, "all")
    here, there, name = shapes(weights), neurons.shapes, model_name(model)
    for layer in sorted({*here, *there}):
        if here.get(layer) != there.get(layer):
            raise BaseModelError(
                f"{layer}: expected the shape {there.get(layer, 'none')} of the neurons' base "
                f"model ({neurons.base.name or 'unknown'}), found {here.get(layer, 'none')} in "
                f"{name}; load that base model, or find the neurons in this one"
            )
    found = base_fingerprint(model)
    if neurons.base.fingerprint not in ("", found):
        warnings.warn(
            f"the neurons were found in {neurons.base.name or 'a model without a name'} "
            f"({neurons.base.fingerprint[:8]}), this model is {name} ({found[:8]}), of the same "
            "layout but with other weights; find them again in this one if the subject is lost",
            BaseModelWarning,
            stacklevel=4,
        )
    return weights


def base_fingerprint(model: object) -> str:
    """`cones.layers.fingerprint` of a model's text projections, as they are when nothing is shut.

    Args:
        model: a denoiser, a diffusers pipeline or a backbone; neurons may be shut in it.

    Raises:
        InputError: the model's weights are not plain.
    """
    network = denoiser(model)
    if network not in _fingerprints:
        _fingerprints[network] = fingerprint(projections(network))
    return _fingerprints[network]


def _shut_values(
    weight: nn.Parameter, neurons: ConceptNeurons, layer: str, strength: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions of one layer's neurons, their weights as they are, and shut; each [count]."""
    index = torch.tensor(neurons.indices[layer], device=weight.device)
    original = weight.data.view(-1)[index]
    if neurons.values is None:
        return index, original, original * (1 - strength) + 0.0  # of -0.0 the latter makes 0.0
    target = torch.tensor(neurons.values[layer]).to(original)
    return index, original, torch.lerp(original, target, strength)


def _put(weight: nn.Parameter, index: torch.Tensor, values: torch.Tensor) -> None:
    """Overwrites entries where the weight is now: it may have moved since to another device."""
    data = weight.data.view(-1)
    data[index.to(data.device)] = values.to(data)
