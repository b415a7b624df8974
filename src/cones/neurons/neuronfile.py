"""Neuron files, `*.cones.safetensors`: concept neurons in a few kilobytes.

`docs/format.md` specifies the bytes: equal neurons have equal bytes. A file holds at most 2^31
weights in a layer and 2^27 neurons, and at most as many as fit in 64 MiB and 48 times the size of
the file, at 8 bytes for each and as much again for those of the layer that has the most.
"""

import hashlib
import math
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cones.errors import ConesError, InputError, NeuronFileError
from cones.files.paths import local_name
from cones.files.writing import atomic_write
from cones.neurons import codec, origin, quaternary
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.container import Array, Container, Format, Tensors
from cones.neurons.quaternary import Values

MAX_WEIGHTS = 2**31
MAX_NEURONS = 2**27

FORMAT = Format(
    "cones",
    "1",
    "a neuron file",
    "a file that `cones find` has written",
    ("strength", *origin.KEYS),
)

_HEAD = struct.Struct("<III")  # out, in, count
_VALUES = ".values"


def save(neurons: ConceptNeurons, path: str | os.PathLike[str]) -> None:
    """Writes a neuron file, all or nothing.

    Raises:
        InputError: `path` cannot be written, or there is more in `neurons` than a file takes.
    """
    atomic_write(path, to_bytes(neurons))


def load(path: str | os.PathLike[str]) -> ConceptNeurons:
    """Reads a neuron file.

    Whether its neurons belong to a given model is seen when they are shut in it.

    Raises:
        NeuronFileError: there is no such file, it is no neuron file, of a newer version or damaged.
    """
    return _parse(FORMAT.load(path), os.fspath(path))


def from_bytes(data: bytes, name: str = "neuron file") -> ConceptNeurons:
    """The neurons of a file with these bytes, which messages call `name`; as `load`."""
    return _parse(FORMAT.from_bytes(data, name), name)


def to_bytes(neurons: ConceptNeurons) -> bytes:
    """The bytes of a neuron file.

    Raises:
        InputError: there is more in `neurons` than a file takes, or a name that it cannot hold.
    """
    for layer, (out, into) in neurons.shapes.items():
        if out * into > MAX_WEIGHTS:
            raise InputError(f"{layer}: expected at most {MAX_WEIGHTS} weights, found {out * into}")
        if layer.endswith(_VALUES):
            raise InputError(f"{layer}: no layer in a file is called so; rename it")
    named = " and ".join(subject.phrase for subject in neurons.subjects)
    unsigned = {
        "neurons": str(len(neurons)),
        "density": f"{neurons.density:.6g}",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": f"Concept neurons of {named or 'no named subject'}",
        "modelspec.architecture": f"{neurons.base.name or 'unknown'}/concept-neurons",
        "modelspec.implementation": "cones",
    }
    data = b"".join(FORMAT.parts(_tensors(neurons), _metadata(neurons), unsigned))
    _require_room([len(index) for index in neurons.indices.values()], len(data))
    return data


def nbytes(neurons: ConceptNeurons) -> int:
    """The size of the neuron file in bytes."""
    return len(to_bytes(neurons))


def file_hash(path: str | os.PathLike[str]) -> str:
    """What names a file in an image's provenance: the first 16 hex digits of its SHA-256.

    Raises:
        NeuronFileError: there is no such file.
    """
    path = local_name(path)
    if not Path(path).is_file():
        raise NeuronFileError(f"{path}: there is no such file; expected a neuron file")
    return _hash(Path(path).read_bytes())


def neurons_hash(neurons: ConceptNeurons) -> str:
    """The `file_hash` of the file that `save` would write."""
    return _hash(to_bytes(neurons))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _metadata(neurons: ConceptNeurons) -> dict[str, str]:
    """The metadata that are signed."""
    return {
        "strength": repr(neurons.strength),
        **origin.to_metadata((neurons.subjects, neurons.base, neurons.info)),
    }


def _tensors(neurons: ConceptNeurons) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    for layer, index in neurons.indices.items():
        out, into = neurons.shapes[layer]
        code = _HEAD.pack(out, into, len(index)) + codec.encode(index, out * into)
        tensors[layer] = np.frombuffer(code, dtype=np.uint8)
    if neurons.values is not None:
        for layer, value in _shortest(neurons.values).items():
            tensors[layer + _VALUES] = value
    return tensors


def _shortest(values: Mapping[str, Values]) -> dict[str, Array]:
    """The values of all layers in the shortest form that holds them exactly."""
    forms: list[dict[str, Array]] = []
    if all(_is_half(value) for value in values.values()):
        forms.append({layer: value.astype(np.float16) for layer, value in values.items()})
    if all(quaternary.fits(value) for value in values.values()):
        packed = {layer: quaternary.pack(value) for layer, value in values.items()}
        forms.append({layer: np.frombuffer(data, np.uint8) for layer, data in packed.items()})
    forms.append(dict(values))
    return min(forms, key=lambda form: sum(tensor.nbytes for tensor in form.values()))


def _is_half(value: Values) -> bool:
    with np.errstate(over="ignore"):
        return np.array_equal(value.astype(np.float16).astype(np.float32), value)


def _require_room(counts: Iterable[int], size: int) -> None:
    """Bounds what the indices of a file of `size` bytes take, in memory and time."""
    counts = list(counts)
    total = sum(counts)
    if total > MAX_NEURONS:
        raise InputError(f"expected at most {MAX_NEURONS} neurons in a file, found {total}")
    if 8 * (total + max(counts, default=0)) > 2**26 + 48 * size:
        raise InputError(f"expected fewer neurons in a file of {size} bytes, found {total}")


def _parse(container: Container, name: str) -> ConceptNeurons:
    """What `_metadata` and `_tensors` were made of."""
    metadata, tensors = container.metadata, container.tensors
    values = {key: tensor for key, tensor in tensors.items() if key.endswith(_VALUES)}
    codes = {key: tensor for key, tensor in tensors.items() if key not in values}
    try:
        shapes, indices = _decode(codes, container.nbytes)
        subjects, base, info = origin.from_metadata(metadata)
        strength = _strength(metadata["strength"])
        return ConceptNeurons(
            shapes, indices, _unpacked(values, indices) or None, subjects, strength, base, info
        )
    except ConesError as error:
        raise FORMAT.damaged(name, error) from error


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if repr(value + 0.0) != text:
        raise InputError(f"strength: expected the shortest form of a number, found {text}")
    return value


def _unpacked(tensors: Tensors, indices: Mapping[str, codec.Indices]) -> dict[str, Values]:
    """The values of the layers, of whatever form."""
    values = {}
    for name, tensor in tensors.items():
        layer = name.removesuffix(_VALUES)
        _require_vector(name, tensor, (np.uint8, np.float16, np.float32))
        if tensor.dtype == np.uint8:
            count = len(indices.get(layer, ()))
            tensor = _about(layer, quaternary.unpack, tensor.tobytes(), count)
        values[layer] = tensor
    return values


def _decode(
    codes: Tensors, file_size: int
) -> tuple[dict[str, tuple[int, int]], dict[str, codec.Indices]]:
    """Shapes and indices of all layers; nothing large is made before all heads are checked."""
    shapes, counts = {}, {}
    for layer, code in codes.items():
        _require_vector(layer, code, (np.uint8,))
        if len(code) < _HEAD.size:
            raise InputError(f"{layer}: expected 12 bytes or more, found {len(code)}")
        out, into, counts[layer] = _HEAD.unpack(code[: _HEAD.size].tobytes())
        shapes[layer] = (out, into)
        if not 0 < out * into <= MAX_WEIGHTS:
            raise InputError(f"{layer}: expected 1 to {MAX_WEIGHTS} weights, found {out} x {into}")
    _require_room(counts.values(), file_size)
    indices = {
        layer: _about(
            layer,
            codec.decode,
            code[_HEAD.size :].tobytes(),
            math.prod(shapes[layer]),
            counts[layer],
        )
        for layer, code in codes.items()
    }
    return shapes, indices


def _require_vector(name: str, tensor: Array, kinds: tuple[type, ...]) -> None:
    if tensor.ndim != 1 or tensor.dtype not in kinds:
        expected = " or ".join(np.dtype(kind).name for kind in kinds)
        found = f"{tensor.dtype} {list(tensor.shape)}"
        raise InputError(f"{name}: expected a vector of {expected}, found {found}")


def _about(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call; its errors say what they are about."""
    try:
        return call(*arguments)
    except ConesError as error:
        raise InputError(f"{what}: {error}") from error
