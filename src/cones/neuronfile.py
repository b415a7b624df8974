r"""Neuron files, `*.cones.safetensors`: concept neurons in a few kilobytes.

The bytes
---------
A file is in the safetensors format, as `cones.files.safetensors_bytes` writes it, so equal neurons
have equal bytes.

Tensors:

- `<layer>`, U8: for every layer that could be chosen from, also if it has no neurons. Three
  little-endian uint32 (out, in, count), then the `count` flat row-major indices into the weight
  [out, in] in the code of `cones.codec`, with size = out * in.
- `<layer>.values`, for every layer, if the neurons are tuned: their values in the order of the
  indices. F16 or F32 [count], or U8, the quaternary form of `cones.quaternary`: in the whole file
  the shortest that holds every value exactly, F16 before U8. A reader takes any of them.

Metadata, all strings:

- `format` = "cones", `format_version` = "1".
- `base_model`, `base_fingerprint`: name and `cones.layers.fingerprint` of the base model, or "".
- `subjects`: JSON, a list of {"class_noun", "prompt", "token"}, by token. `strength`: Python's
  shortest form of a float64 in [0, 2]. `info`: JSON, an object of strings: algorithm,
  configuration, seed, versions.
- `digest`: the first 32 hex digits of the SHA-256 of this file as it would be with no metadata but
  the keys above. A reader checks it.
- For other programs only, not read: `neurons` (their number), `density`, `modelspec.*`.

JSON has no spaces, keys sorted and everything but ASCII escaped. A reader lets further metadata
pass. It refuses more than 2^31 weights in a layer, and more than 2^27 neurons in a file.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from cones import codec, quaternary
from cones.errors import ConesError, InputError, NeuronFileError
from cones.files import atomic_write, safetensors_bytes
from cones.neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.quaternary import Values

VERSION = 1
MAX_WEIGHTS = 2**31
MAX_NEURONS = 2**27

Tensors = dict[str, npt.NDArray[Any]]

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
    _require_file(path)
    try:
        with safe_open(os.fspath(path), "numpy") as file:
            metadata = file.metadata() or {}
            _require_format(path, metadata)
            return _parse(metadata, _read_tensors(file))
    except (SafetensorError, OSError) as error:
        raise NeuronFileError(f"{path}: {_what_else(Path(path))}") from error
    except _Damage as error:
        raise NeuronFileError(
            f"{path}: {error}; the file is damaged, copy or download it again"
        ) from error


def to_bytes(neurons: ConceptNeurons) -> bytes:
    """The bytes of a neuron file.

    Raises:
        InputError: a layer has more weights, or the file more neurons, than a file takes.
    """
    for layer, (out, into) in neurons.shapes.items():
        if out * into > MAX_WEIGHTS:
            raise InputError(f"{layer}: expected at most {MAX_WEIGHTS} weights, found {out * into}")
    if len(neurons) > MAX_NEURONS:
        raise InputError(f"expected at most {MAX_NEURONS} neurons in a file, found {len(neurons)}")
    named = " and ".join(f"{subject.token} {subject.class_noun}" for subject in neurons.subjects)
    tensors, metadata = _tensors(neurons), _metadata(neurons)
    metadata |= {
        "digest": _digest(tensors, metadata),
        "neurons": str(len(neurons)),
        "density": f"{neurons.density:.6g}",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": f"Concept neurons of {named or 'no named subject'}",
        "modelspec.architecture": f"{neurons.base.name or 'unknown'}/concept-neurons",
        "modelspec.implementation": "cones",
    }
    return safetensors_bytes(tensors, metadata)


def nbytes(neurons: ConceptNeurons) -> int:
    """The size of the neuron file in bytes."""
    return len(to_bytes(neurons))


def file_hash(path: str | os.PathLike[str]) -> str:
    """What names a file in an image's provenance: the first 16 hex digits of its SHA-256.

    Raises:
        NeuronFileError: there is no such file.
    """
    _require_file(path)
    return _hash(Path(path).read_bytes())


def neurons_hash(neurons: ConceptNeurons) -> str:
    """The `file_hash` of the file that `save` would write."""
    return _hash(to_bytes(neurons))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _metadata(neurons: ConceptNeurons) -> dict[str, str]:
    """The metadata that a reader reads, but for the digest."""
    return {
        "format": "cones",
        "format_version": str(VERSION),
        "base_model": neurons.base.name,
        "base_fingerprint": neurons.base.fingerprint,
        "subjects": _json([vars(subject) for subject in neurons.subjects]),
        "strength": repr(neurons.strength),
        "info": _json(dict(neurons.info)),
    }


def _tensors(neurons: ConceptNeurons) -> Tensors:
    tensors: Tensors = {}
    for layer, index in neurons.indices.items():
        out, into = neurons.shapes[layer]
        code = _HEAD.pack(out, into, len(index)) + codec.encode(index, out * into)
        tensors[layer] = np.frombuffer(code, dtype=np.uint8)
    if neurons.values is not None:
        for layer, value in _shortest(neurons.values).items():
            tensors[layer + _VALUES] = value
    return tensors


def _shortest(values: Mapping[str, Values]) -> Tensors:
    """The values of all layers in the shortest form that holds them exactly."""
    forms: list[Tensors] = []
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


def _digest(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    return hashlib.sha256(safetensors_bytes(tensors, metadata)).hexdigest()[:32]


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _require_file(path: str | os.PathLike[str]) -> None:
    if Path(path).is_dir():
        raise NeuronFileError(f"{path}: is a folder; name the neuron file in it")
    if not Path(path).is_file():
        raise NeuronFileError(f"{path}: there is no such file; expected a neuron file")


def _require_format(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != "cones":
        raise NeuronFileError(
            f"{path}: a safetensors file without concept neurons (a LoRA or a model?): expected "
            f"format=cones in its metadata, found {metadata.get('format', 'none')}; name a file "
            "that `cones find` has written"
        )
    version = metadata.get("format_version", "")
    if version != str(VERSION):
        raise NeuronFileError(
            f"{path}: expected the format version {VERSION}, found {version or 'none'}; "
            "upgrade cones if that is a newer one"
        )


class _Damage(Exception):
    """What is wrong in a file that says it is a neuron file."""


def _read_tensors(file: Any) -> Tensors:
    names = list(file.keys())
    for name in names:  # before get_tensor, which fails on kinds that numpy lacks
        part = file.get_slice(name)
        kind, shape = part.get_dtype(), part.get_shape()
        if kind not in ("F32", "F16", "U8") or len(shape) != 1:
            raise _Damage(f"{name}: expected a vector of U8, F16 or F32, found {kind} {shape}")
    return {name: file.get_tensor(name) for name in names}


def _parse(metadata: Mapping[str, str], tensors: Tensors) -> ConceptNeurons:
    """What `_metadata` and `_tensors` were made of; the digest is checked."""
    values = {name: tensor for name, tensor in tensors.items() if name.endswith(_VALUES)}
    codes = {name: tensor for name, tensor in tensors.items() if name not in values}
    shapes, indices = _decode(codes)
    try:
        neurons = ConceptNeurons(
            shapes,
            indices,
            _unpacked(values, indices) or None,
            tuple(SubjectInfo(**_texts(subject)) for subject in json.loads(metadata["subjects"])),
            float(metadata["strength"]),
            BaseInfo(metadata["base_model"], metadata["base_fingerprint"]),
            _texts(json.loads(metadata["info"])),
        )
        digest = _digest(tensors, _metadata(neurons))
    except ConesError as error:
        raise _Damage(str(error)) from error
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _Damage(f"its metadata is incomplete or malformed ({error})") from error
    if metadata.get("digest") != digest:
        raise _Damage(f"expected the digest {digest}, found {metadata.get('digest', 'none')}")
    return neurons


def _unpacked(tensors: Tensors, indices: Mapping[str, codec.Indices]) -> dict[str, Values]:
    """The values of the layers, of whatever form."""
    values = {}
    for name, tensor in tensors.items():
        layer = name.removesuffix(_VALUES)
        if tensor.dtype == np.uint8:
            try:
                tensor = quaternary.unpack(tensor.tobytes(), len(indices.get(layer, ())))
            except ConesError as error:
                raise _Damage(f"{layer}: {error}") from error
        values[layer] = tensor
    return values


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise TypeError("expected an object of strings")
    return value


def _decode(codes: Tensors) -> tuple[dict[str, tuple[int, int]], dict[str, codec.Indices]]:
    """Shapes and indices of all layers; nothing large is made before all heads are checked."""
    shapes, counts = {}, {}
    for layer, code in codes.items():
        if code.dtype != np.uint8 or len(code) < _HEAD.size:
            raise _Damage(f"{layer}: expected 12 bytes or more, found {len(code)} {code.dtype}")
        out, into, counts[layer] = _HEAD.unpack(code[: _HEAD.size].tobytes())
        shapes[layer] = (out, into)
        if not 0 < out * into <= MAX_WEIGHTS:
            raise _Damage(f"{layer}: expected 1 to {MAX_WEIGHTS} weights, found {out} x {into}")
    if sum(counts.values()) > MAX_NEURONS:
        raise _Damage(f"expected at most {MAX_NEURONS} neurons, found {sum(counts.values())}")
    indices = {}
    for layer, code in codes.items():
        data, size = code[_HEAD.size :].tobytes(), math.prod(shapes[layer])
        try:
            indices[layer] = codec.decode(data, size, counts[layer])
        except ConesError as error:
            raise _Damage(f"{layer}: {error}") from error
    return shapes, indices


def _what_else(path: Path) -> str:
    """What a file is that is no safetensors file, and what to do."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        return f"cannot be read ({error.strerror}); check its permissions"
    if head.startswith(b"version https://git-lfs"):
        return "is a git-LFS pointer, not the file itself; run `git lfs pull`"
    if head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and head[8:9] != b"{"):
        return (
            "is a pickle or a zip archive (a torch .bin or .pt file?), which is never opened; "
            "name a neuron file"
        )
    return (
        f"expected a whole safetensors file, found {size} bytes that are damaged, truncated or "
        "something else; copy or download it again"
    )
