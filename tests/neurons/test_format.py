"""`docs/format.md`: a reader written from that page alone agrees with the package."""

from pathlib import Path
from typing import Any

import numpy as np
import plain_reader
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones.errors import NeuronFileError
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.container import Tensors
from cones.neurons.neuronfile import FORMAT, from_bytes, load, to_bytes

VERSION_1 = Path(__file__).parents[1] / "data" / "version1.cones.safetensors"
FORMS = {
    "F16": lambda rng, count: rng.random(count).astype(np.float16),
    "F32": lambda rng, count: rng.standard_normal(count).astype(np.float32),
    "U8": lambda rng, count: rng.choice(np.float32([-0.0, 0.0, 0.1, -1e30]), count),
}


@st.composite
def neurons(draw: st.DrawFn) -> ConceptNeurons:
    """Sets of all densities, shut or with values of each form."""
    names = st.text(min_size=1, max_size=6).filter(lambda name: not name.endswith(".values"))
    sides = st.tuples(st.integers(1, 40), st.integers(1, 40))
    shapes = draw(st.dictionaries(names, sides, min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0, 0.02, 0.25, 0.4, 0.5, 0.7, 0.98, 1]))
    index = {k: np.flatnonzero(rng.random(a * b) < density) for k, (a, b) in shapes.items()}
    form = FORMS.get(draw(st.sampled_from(["", *FORMS])))
    return ConceptNeurons(
        shapes,
        index,
        form and {layer: form(rng, len(each)) for layer, each in index.items()},
        (SubjectInfo(draw(st.text()), draw(st.text()), draw(st.text())),),
        draw(st.floats(0, 2)),
        BaseInfo(draw(st.text()), draw(st.sampled_from(["", "0f" * 16]))),
        draw(st.dictionaries(st.text(), st.text(), max_size=2)),
    )


def plain(found: ConceptNeurons) -> dict[str, Any]:
    """What the plain reader says of these neurons."""
    return {
        "shapes": found.shapes,
        "indices": {layer: index.tolist() for layer, index in found.indices.items()},
        "values": found.values and {k: each.tobytes() for k, each in found.values.items()},
        "subjects": [vars(each) for each in found.subjects],
        "strength": found.strength,
        "base_model": found.base.name,
        "base_fingerprint": found.base.fingerprint,
        "info": found.info,
    }


def plainly_read(data: bytes) -> dict[str, Any]:
    """What the plain reader finds, with arrays that can be compared."""
    read = plain_reader.read(data)
    read["indices"] = {layer: index.tolist() for layer, index in read["indices"].items()}
    if read["values"] is not None:
        read["values"] = {layer: each.tobytes() for layer, each in read["values"].items()}
    return read


@given(neurons())
def test_both_read_what_is_written(written: ConceptNeurons) -> None:
    data = to_bytes(written)
    assert plainly_read(data) == plain(written) == plain(from_bytes(data))


@given(neurons(), st.data())
def test_both_refuse_the_same_codes(written: ConceptNeurons, data: st.DataObject) -> None:
    """A tensor's bytes are changed, and the file signed anew: only the codes can be wrong."""
    container = FORMAT.from_bytes(to_bytes(written), "written")
    name = data.draw(st.sampled_from(sorted(container.tensors)))
    changed = bytearray(container.tensors[name].tobytes())
    if not changed:
        return
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    tensor = np.frombuffer(changed, container.tensors[name].dtype)
    file = signed({**container.tensors, name: tensor}, container.metadata)
    try:
        expected = plain(from_bytes(file))
    except NeuronFileError:
        with pytest.raises(ValueError, match="not a neuron file"):
            plain_reader.read(file)
    else:
        assert plainly_read(file) == expected


def signed(tensors: Tensors, metadata: Any) -> bytes:
    parts = FORMAT.parts(tensors, {key: metadata[key] for key in FORMAT.signed or ()})
    return b"".join(parts)


def test_a_file_of_version_1_is_read_for_ever() -> None:
    """It was written on 28 November 2026; if this fails, older files are no longer read."""
    found = load(VERSION_1)
    assert plain(found) == {
        "shapes": {"a.to_k": (4, 6), "a.to_v": (5, 3), "b.to_k": (3, 3), "b.to_v": (2, 2)},
        "indices": {
            "a.to_k": [1, 7, 20],
            "a.to_v": [0, 2, 3, 6, 11, 14],
            "b.to_k": [0, 1, 2, 3, 5, 6, 7, 8],
            "b.to_v": [],
        },
        "values": {
            "a.to_k": np.float32([0.1, -0.5, 0.1]).tobytes(),
            "a.to_v": np.float32([-0.0, 0.0, 1, 1, 0, -2]).tobytes(),
            "b.to_k": np.float32([0.3, 0.3, 0.3, 0.7, 0.7, 0.7, 0.7, 0.3]).tobytes(),
            "b.to_v": b"",
        },
        "subjects": [
            {"class_noun": "mug", "prompt": "a ohwx mug", "token": "ohwx"},
            {"class_noun": "robot", "prompt": "a sks robot \u2603", "token": "sks"},
        ],
        "strength": 1.5,
        "base_model": "toybox",
        "base_fingerprint": "0123456789abcdef0123456789abcdef",
        "info": {"algorithm": "mask-in-loop", "seed": "0"},
    }
    assert plainly_read(VERSION_1.read_bytes()) == plain(found)
    assert to_bytes(found) == VERSION_1.read_bytes()
