"""A neuron file is specified to the byte, small, exact, and refused when anything is wrong."""

import hashlib
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from math import log2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save_file

from cones import neuronfile
from cones.errors import InputError, NeuronFileError
from cones.files import safetensors_bytes
from cones.neuronfile import file_hash, load, nbytes, save, to_bytes
from cones.neurons import BaseInfo, ConceptNeurons, SubjectInfo

SHAPES = {"a.to_k": (4, 4), "a.to_v": (5, 1)}
SMALL = ConceptNeurons(
    SHAPES,
    {"a.to_k": np.array([4, 13]), "a.to_v": np.array([1, 2])},
    subjects=(SubjectInfo("sks", "robot", "a sks robot"),),
    strength=1.5,
    base=BaseInfo("toybox", "0123456789abcdef0123456789abcdef"),
    info={"seed": "0"},
)
TUNED = ConceptNeurons(SHAPES, SMALL.indices, {k: np.array([0.5, -2]) for k in SHAPES})


@st.composite
def neurons(draw: st.DrawFn) -> ConceptNeurons:
    shapes = draw(
        st.dictionaries(
            st.text(min_size=1, max_size=9),
            st.tuples(st.integers(1, 30), st.integers(1, 30)),
            min_size=1,
            max_size=3,
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0, 0.05, 0.4, 1]))
    index = {k: np.flatnonzero(rng.random(o * i) < density) for k, (o, i) in shapes.items()}
    values = {
        None: None,
        "half": {k: rng.random(len(i)).astype(np.float16) for k, i in index.items()},
        "full": {k: rng.standard_normal(len(i)) * 1e5 for k, i in index.items()},
    }
    return ConceptNeurons(
        shapes,
        index,
        values[draw(st.sampled_from([None, "half", "full"]))],
        (SubjectInfo(draw(st.text()), draw(st.text()), draw(st.text())),),
        draw(st.floats(0, 2)),
        BaseInfo(draw(st.text()), draw(st.text())),
        draw(st.dictionaries(st.text(), st.text(), max_size=2)),
    )


@given(neurons())
def test_it_is_exact(tmp_path_factory: pytest.TempPathFactory, a: ConceptNeurons) -> None:
    path = tmp_path_factory.getbasetemp() / "exact.cones.safetensors"
    save(a, path)
    read = load(path)
    assert read == a and read.info == a.info
    assert to_bytes(read) == path.read_bytes()
    assert nbytes(a) == path.stat().st_size


def test_the_bytes() -> None:
    """The format as the module's docstring gives it: these bytes never change."""
    read = {
        "base_fingerprint": "0123456789abcdef0123456789abcdef",
        "base_model": "toybox",
        "format": "cones",
        "format_version": "1",
        "info": '{"seed":"0"}',
        "strength": "1.5",
        "subjects": '[{"class_noun":"robot","prompt":"a sks robot","token":"sks"}]',
    }
    not_read = {
        "density": "0.190476",
        "modelspec.architecture": "toybox/concept-neurons",
        "modelspec.implementation": "cones",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": "Concept neurons of sks robot",
        "neurons": "4",
    }
    layers = {
        "a.to_k": {"dtype": "U8", "shape": [14], "data_offsets": [0, 14]},
        "a.to_v": {"dtype": "U8", "shape": [13], "data_offsets": [14, 27]},
    }

    def file_of(metadata: dict[str, str]) -> bytes:
        header = {"__metadata__": dict(sorted(metadata.items())), **layers}
        text = json.dumps(header, separators=(",", ":"))
        text += " " * (-len(text) % 8)
        return (
            len(text).to_bytes(8, "little")
            + text.encode()
            + bytes([4, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 0b10111111, 0b00000000])
            + bytes([5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0b11010000])
        )

    digest = hashlib.sha256(file_of(read)).hexdigest()[:32]
    assert to_bytes(SMALL) == file_of({**read, **not_read, "digest": digest})


def test_values_are_tensors(tmp_path: Path) -> None:
    TUNED.save(tmp_path / "half")
    tensors = load_tensors((tmp_path / "half").read_bytes())
    assert tensors["a.to_k.values"].dtype == np.float16
    assert tensors["a.to_k.values"].tolist() == [0.5, -2.0]
    fine = ConceptNeurons(SHAPES, SMALL.indices, {k: np.array([0.1, -2]) for k in SHAPES})
    fine.save(tmp_path / "full")
    tensors = load_tensors((tmp_path / "full").read_bytes())
    assert tensors["a.to_v.values"].dtype == np.float32
    assert load(tmp_path / "full") == fine


@pytest.mark.parametrize("density", [0.01, 0.05, 0.1, 0.38])
def test_it_is_near_the_entropy(density: float) -> None:
    rng = np.random.default_rng(0)
    shapes = {
        f"down_blocks.{i}.attentions.0.transformer_blocks.0.attn2.to_{kind}": (320 << i, 768)
        for i in range(3)
        for kind in "kv"
    }
    index = {k: np.flatnonzero(rng.random(o * i) < density) for k, (o, i) in shapes.items()}
    bits = 0.0
    for layer, (out, into) in shapes.items():
        p = len(index[layer]) / (out * into)
        bits -= (p * log2(p) + (1 - p) * log2(1 - p)) * out * into
    data = to_bytes(ConceptNeurons(shapes, index))
    header = 8 + int.from_bytes(data[:8], "little")
    assert len(data) - header <= 1.015 * bits / 8
    assert header < 550 + 150 * len(shapes)


def test_hashes(tmp_path: Path) -> None:
    save(SMALL, tmp_path / "a")
    save(TUNED, tmp_path / "b")
    assert file_hash(tmp_path / "a") != file_hash(tmp_path / "b")
    assert len(file_hash(tmp_path / "a")) == 16
    with pytest.raises(NeuronFileError, match="no such file"):
        file_hash(tmp_path / "c")


def test_a_reader_lets_other_metadata_pass(tmp_path: Path) -> None:
    metadata, tensors = parts()
    save_file(tensors, tmp_path / "a", {**metadata, "modelspec.author": "me", "density": "?"})
    assert load(tmp_path / "a") == SMALL


def test_too_much_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^k: expected at most 2147483648 weights"):
        to_bytes(ConceptNeurons({"k": (2**16, 2**16)}, {}))
    monkeypatch.setattr(neuronfile, "MAX_NEURONS", 3)
    with pytest.raises(InputError, match=r"expected at most 3 neurons in a file, found 4"):
        to_bytes(SMALL)


# What is wrong, and what is said. Each fault makes a file at the path.


def parts() -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the tensors of SMALL's file."""
    data = to_bytes(SMALL)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header["__metadata__"], load_tensors(data)


def with_metadata(**changed: str | None) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        metadata, tensors = parts()
        metadata = {k: v for k, v in {**metadata, **changed}.items() if v is not None}
        path.write_bytes(safetensors_bytes(tensors, metadata))

    return write


def with_tensors(**changed: np.ndarray | None) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        metadata, tensors = parts()
        renamed = {name.replace("__", "."): tensor for name, tensor in changed.items()}
        tensors = {k: v for k, v in {**tensors, **renamed}.items() if v is not None}
        save_file(tensors, path, metadata)

    return write


def coded(out: int, into: int, count: int, code: bytes = b"") -> np.ndarray:
    return np.frombuffer(struct.pack("<III", out, into, count) + code, dtype=np.uint8)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))


DAMAGED = "the file is damaged, copy or download it again$"


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "there is no such file; expected a neuron file"),
        (lambda path: path.mkdir(), "is a folder; name the neuron file in it"),
        (lambda path: path.write_bytes(b""), "found 0 bytes .*copy or download it again"),
        (lambda path: path.write_bytes(to_bytes(SMALL)[:-1]), "truncated.*download it again"),
        (lambda path: path.write_bytes(to_bytes(SMALL) + b"\0"), "damaged.*download it again"),
        (
            lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid ..."),
            "is a git-LFS pointer.*run `git lfs pull`",
        ),
        (lambda path: path.write_bytes(pickle.dumps([1])), "pickle.*never opened; name a neuron"),
        (zipped, "zip archive.*never opened; name a neuron file"),
        (
            lambda path: save_file({"lora_down.weight": np.zeros((2, 2), np.float32)}, path),
            "without concept neurons .*expected format=cones .*found none; name a file that",
        ),
        (with_metadata(format="pt"), "expected format=cones in its metadata, found pt; name"),
        (with_metadata(format_version="2"), "expected the format version 1, found 2; upgrade"),
        (with_metadata(format_version=None), "expected the format version 1, found none;"),
        (with_metadata(base_model=None), "metadata is incomplete .*'base_model'.*" + DAMAGED),
        (with_metadata(digest=None), "expected the digest .*found none; " + DAMAGED),
        (with_metadata(strength="1.0"), "expected the digest .*; " + DAMAGED),
        (with_metadata(strength="3"), "expected 0 to 2, found 3.0; " + DAMAGED),
        (with_metadata(strength="x"), "metadata is .*malformed .*" + DAMAGED),
        (with_metadata(info="[" * 9999), "metadata is .*malformed .*" + DAMAGED),
        (with_metadata(info='{"seed":0}'), "metadata is .*an object of strings.*" + DAMAGED),
        (with_metadata(subjects="[1]"), "metadata is .*an object of strings.*" + DAMAGED),
        (with_metadata(subjects='[{"name":"x"}]'), "metadata is .*malformed.*" + DAMAGED),
        (with_tensors(a__to_k=None), "expected the digest .*; " + DAMAGED),
        (
            with_tensors(a__to_k=np.zeros(3, np.int64)),
            r"a.to_k: expected a vector of U8, F16 or F32, found I64 \[3\]; " + DAMAGED,
        ),
        (with_tensors(a__to_k=np.zeros((20, 1), np.uint8)), r"a.to_k: .*U8 \[20, 1\]; " + DAMAGED),
        (with_tensors(a__to_k=np.zeros(9, np.uint8)), "a.to_k: .*found 9 uint8; " + DAMAGED),
        (with_tensors(a__to_k=np.zeros(20, np.float16)), "a.to_k: .*20 float16; " + DAMAGED),
        (with_tensors(a__to_k=coded(0, 4, 0)), "a.to_k: .*found 0 x 4; " + DAMAGED),
        (with_tensors(a__to_k=coded(2**31, 2, 1)), "a.to_k: .*2147483648 x 2; " + DAMAGED),
        (
            with_tensors(a__to_k=coded(2**15, 2**16, 2**31)),
            "at most 134217728 neurons, .*" + DAMAGED,
        ),
        (
            with_tensors(a__to_k=coded(4, 4, 17)),
            "a.to_k: .*at most 16 neurons, found 17; " + DAMAGED,
        ),
        (with_tensors(a__to_k=coded(4, 4, 2, b"\xbf")), "a.to_k: .*cut short.*" + DAMAGED),
        (with_tensors(a__to_k=coded(4, 4, 2, b"\x01\xff")), "a.to_k: the gaps add up .*" + DAMAGED),
        (with_tensors(a__to_k=coded(4, 4, 2, b"\xbf\1")), "a.to_k: .*none of it; " + DAMAGED),
        (with_tensors(a__to_k=coded(4, 4, 2, b"\xbf\0\0")), "a.to_k: .*none of it; " + DAMAGED),
        (
            with_tensors(a__to_k__values=np.zeros(3, np.float32)),
            r"a.to_k: expected a value for each of 2 neurons, found \[3\]; " + DAMAGED,
        ),
        (
            with_tensors(
                a__to_k__values=np.full(2, np.nan, np.float32),
                a__to_v__values=np.zeros(2, np.float32),
            ),
            "a.to_k: expected finite values, .*" + DAMAGED,
        ),
        (
            with_tensors(b__values=np.zeros(2, np.float16)),
            "b: has neurons but no shape.*" + DAMAGED,
        ),
    ],
)
def test_it_refuses(tmp_path: Path, write: Callable[[Path], object], said: str) -> None:
    path = tmp_path / "robot.cones.safetensors"
    write(path)
    with pytest.raises(NeuronFileError, match=said) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    everything = coded(2**13, 2**13, 2**26)
    tensors = {"a": everything, "b": everything, "c": coded(1, 1, 1)}
    save_file(tensors, tmp_path / "bomb", parts()[0])
    with pytest.raises(NeuronFileError, match="expected at most 134217728 neurons"):
        load(tmp_path / "bomb")


def test_a_key_given_twice_is_no_way_round_the_digest(tmp_path: Path) -> None:
    data = to_bytes(SMALL)
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(b'"strength":"1.5"', b'"strength":"1.5","strength":"0.5"')
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    with pytest.raises(NeuronFileError, match="digest"):
        load(tmp_path / "a")


@pytest.mark.parametrize("original", [SMALL, TUNED], ids=["shut", "tuned"])
def test_no_damage_is_loaded(tmp_path: Path, original: ConceptNeurons) -> None:
    """Every truncation, every byte replaced: the same neurons, or NeuronFileError."""
    data, path, rng = to_bytes(original), tmp_path / "a", random.Random(0)
    damaged = [data[:end] for end in range(len(data))]
    for at, byte in enumerate(data):
        other = rng.choice([byte ^ 1 << rng.randrange(8), rng.randrange(256)])
        damaged.append(data[:at] + bytes([other]) + data[at + 1 :])
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            read = load(path)
        except NeuronFileError:
            refused += 1
        else:
            assert read == original and read.info == original.info
    assert refused > 1.5 * len(data)
