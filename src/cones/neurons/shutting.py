"""Shutting concept neurons: the weights become theta * M for a while, and then what they were."""

import math
from collections.abc import Callable, Iterable
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cones.errors import BaseModelError, BaseModelWarning, InputError, warn
from cones.neurons.blocks import Block, unchanged
from cones.neurons.changes import Change
from cones.neurons.concept_neurons import ConceptNeurons, check_strength
from cones.neurons.projections import (
    checksum,
    denoiser,
    fingerprint,
    model_name,
    projections,
    shapes,
)
from cones.neurons.union import Neurons, neuron_sets, union

Model = TypeVar("Model")

# The fingerprint of each denoiser, with the checksum of the weights that it was computed from.
_fingerprints: WeakKeyDictionary[nn.Module, tuple[bytes, str]] = WeakKeyDictionary()


def shut(
    model: Model,
    neurons: Neurons | Iterable[Neurons],
    strength: float | None = None,
    wait: float = math.inf,
) -> Block[Model]:
    """Shuts concept neurons in a model while the block runs: theta * (1 - strength * (1 - M)).

        with shut(pipeline, robot): ...             # or: async with shut(pipeline, robot): ...

    The weights are changed in place, at the neurons only, and restored bit for bit when the block
    ends, by an exception too. Blocks may overlap in any way, also with neurons in common, and be
    left in any order: those still open then act as if the others had never been. While one is open
    the model is its thread's or task's alone: others who enter one, or draw or search with the
    model, wait until it is left. (A thread started inside a block is another, unless it is given
    the context, as `asyncio.to_thread` does.)

    Several subjects are best given together: nested, a neuron of both is shut twice, which is once
    more at strength 1 but a flip back at 2.

    Args:
        model: a denoiser (float16, bfloat16, float32), a diffusers pipeline or a backbone. A copy
            of it is another model.
        neurons: of one file or of several, which are united; as they are, or the files' paths.
        strength: in [0, 2]; 1 sets the weights to exactly 0, 2 to exactly their negatives. Tuned
            neurons go towards their values instead of 0. None: what the neurons recommend.
        wait: seconds to wait while another thread or task uses the model; 0 refuses at once.

    Returns:
        The block, which gives the same `model`. It raises what follows, entered or left.

    Raises:
        InputError: the strength is out of range, no neurons are given, the model's weights are
            not plain (see `projections`), or others changed them inside the block.
        BaseModelError: the neurons are of a model of another layout.
        BusyError: the model is in use, and waiting was not wanted or would never end: a plain
            `with` cannot wait for another task of its own thread.

    Warns:
        BaseModelWarning: the neurons are of a model of this layout with other weights.
    """
    if not (sets := neuron_sets(neurons)):
        raise InputError("no neurons to shut; give at least one set")
    united = union(sets)
    strength = united.strength if strength is None else check_strength(strength)
    return Block(model, lambda: _changes(model, united, strength), wait)


def matching_weights(model: object, neurons: ConceptNeurons) -> dict[str, nn.Parameter]:
    """The model's weights that the neurons index: layer -> parameter [out, in].

    Args:
        model: a denoiser, a diffusers pipeline or a backbone.
        neurons: found among the text's projections or among all, see `projections`.

    Raises:
        InputError: the model's weights are not plain.
        BaseModelError: names or shapes of the layers differ.

    Warns:
        BaseModelWarning: they do not, but the fingerprint does.
    """
    with Block(model):
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
    known = neurons.base.fingerprint
    if known and (found := base_fingerprint(model)) != known:
        warn(
            f"the neurons were found in {neurons.base.name or 'a model without a name'} "
            f"({known[:8]}), this model is {name} ({found[:8]}), of the same "
            "layout but with other weights; find them again in this one if the subject is lost",
            BaseModelWarning,
        )
    return weights


def base_fingerprint(model: object) -> str:
    """The `fingerprint` of a model's text projections, as they are when nothing is shut.

    Args:
        model: a denoiser, a diffusers pipeline or a backbone; neurons may be shut in it.

    Raises:
        InputError: the model's weights are not plain.
    """
    network = denoiser(model)
    with unchanged(network):
        weights = projections(network)
        known, now = _fingerprints.get(network), checksum(weights)
        if known is None or known[0] != now:
            known = _fingerprints[network] = now, fingerprint(weights)
    return known[1]


def _changes(model: object, neurons: ConceptNeurons, strength: float) -> list[Change]:
    network = denoiser(model)
    return [
        Change(
            network,
            f"{layer}.weight",
            _shut_values(neurons, layer, strength),
            torch.tensor(neurons.indices[layer], device=weight.device),
        )
        for layer, weight in matching_weights(model, neurons).items()
        if len(neurons.indices[layer])
    ]


def _shut_values(
    neurons: ConceptNeurons, layer: str, strength: float
) -> Callable[[Tensor], Tensor]:
    """What becomes of one layer's weights at the neurons, [count]."""
    if neurons.values is None:
        return lambda theta: theta * (1 - strength) + 0.0  # of -0.0 the latter makes 0.0
    target = torch.tensor(neurons.values[layer])
    return lambda theta: torch.lerp(theta, target.to(theta), strength)
