"""Exports: the weights with the neurons shut, as other programs read them; and the way back."""

import os
from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

import torch

from cones.checks import check_choice
from cones.export import kohya, pipeline, shira
from cones.export.reading import read_neurons
from cones.models.backbone import Backbone
from cones.neurons.union import Neurons, union

Client: TypeAlias = Literal["comfyui", "forge", "a1111", "diffusers", "shira"]
CLIENTS: tuple[Client, ...] = get_args(Client)
FOLDERS = ("diffusers", "shira")  # clients that read a folder; the others read one file

__all__ = ["CLIENTS", "FOLDERS", "Client", "export", "read_neurons"]


def export(
    backbone: Backbone,
    neurons: Neurons | Iterable[Neurons],
    path: str | os.PathLike[str],
    to: Client,
    strength: float | None = None,
    *,
    dtype: torch.dtype = torch.float16,
    names: kohya.Names | None = None,
) -> None:
    """Writes what a client needs to draw with the neurons shut.

    Args:
        backbone: the base model; its weights are read, and are as before when this ends.
        neurons: one set or several, which are exported as their union.
        path: the file, or for one of `FOLDERS` a folder that is new or empty.
        to: who is to read it.
        strength: of the shutting; None for what the neurons recommend.
        dtype: of the differences in a file: float16 or float32.
        names: of the layers in a file; see `cones.export.kohya`.

    Raises:
        InputError: the client has no place for such neurons, or `path` cannot be written.
        BaseModelError: the neurons are of a model of another layout.
    """
    check_choice("to", to, CLIENTS)
    neurons = union(neurons)
    if to == "diffusers":
        pipeline.save(backbone, neurons, path, strength)
    elif to == "shira":
        shira.save(backbone, neurons, path, strength)
    else:
        kohya.save(backbone, neurons, path, strength, dtype, names)
