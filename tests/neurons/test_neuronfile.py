"""A neuron file is specified to the byte, small, exact, and refused when anything is wrong."""

import hashlib
import json
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from math import log2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save_file

from cones.errors import InputError, NeuronFileError
from cones.files.writing import safetensors_bytes
from cones.neurons import neuronfile
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import FORMAT, file_hash, from_bytes, load, nbytes, save, to_bytes

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
        BaseInfo(draw(st.text()), draw(st.sampled_from(["", "0f" * 16]))),
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
    """The format as `docs/format.md` gives it: these bytes never change."""
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


def test_too_long_texts_are_not_written() -> None:
    long = replace(SMALL, info={"a": "x" * 2**22})
    with pytest.raises(InputError, match="at most 4194304 bytes of names and metadata in a neuron"):
        to_bytes(long)


@pytest.mark.parametrize("fingerprint", ["0", "0" * 31, "0" * 33, "0F" * 16, "0" * 32 + "\n", "?"])
def test_a_fingerprint_that_is_none_is_not_written(fingerprint: str) -> None:
    with pytest.raises(
        InputError, match="base_fingerprint: expected 32 hex digits or nothing, found"
    ):
        to_bytes(replace(SMALL, base=BaseInfo("toybox", fingerprint)))


def test_a_layer_without_a_name_is_not_written() -> None:
    with pytest.raises(InputError, match="expected a name for each layer, found an empty one"):
        to_bytes(ConceptNeurons({"": (2, 2), "a": (2, 2)}, {}))


def test_there_is_one_zero_for_the_strength() -> None:
    assert to_bytes(replace(SMALL, strength=-0.0)) == to_bytes(replace(SMALL, strength=0.0))


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


def file_of(tensors: dict[str, np.ndarray]) -> bytes:
    """A file with other tensors, and the digest that belongs to them."""
    metadata = parts()[0]
    return b"".join(FORMAT.parts(tensors, {key: metadata[key] for key in FORMAT.signed or ()}))


def with_metadata(**changed: str | None) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        metadata, tensors = parts()
        metadata = {k: v for k, v in {**metadata, **changed}.items() if v is not None}
        path.write_bytes(safetensors_bytes(tensors, metadata))

    return write


def signed(**changed: str) -> Callable[[Path], object]:
    """Other metadata, with the digest that belongs to them."""

    def write(path: Path) -> None:
        metadata, tensors = parts()
        metadata = {key: metadata[key] for key in FORMAT.signed or ()}
        FORMAT.save(path, tensors, {**metadata, **changed})

    return write


def with_tensors(**changed: np.ndarray | None) -> Callable[[Path], object]:
    """Other tensors, with the digest that belongs to them."""

    def write(path: Path) -> None:
        renamed = {name.replace("__", "."): tensor for name, tensor in changed.items()}
        tensors = {k: v for k, v in {**parts()[1], **renamed}.items() if v is not None}
        path.write_bytes(file_of(tensors))

    return write


def without_a_tensor(path: Path) -> None:
    metadata, tensors = parts()
    del tensors["a.to_k"]
    save_file(tensors, path, metadata)


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
        (lambda path: path.mkdir(), "is a folder; name a neuron file in it"),
        (lambda path: path.write_bytes(b""), "is empty; copy or download it again"),
        (lambda path: path.write_bytes(to_bytes(SMALL)[:-1]), "truncated.*download it again"),
        (lambda path: path.write_bytes(to_bytes(SMALL) + b"\0"), "damaged.*download it again"),
        (
            lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid ..."),
            "is a git-LFS pointer.*run `git lfs pull`",
        ),
        (
            lambda path: path.write_bytes(pickle.dumps([1])),
            "is a pickle .*never opened.*; name a neuron file",
        ),
        (zipped, "zip archive .*never opened.*; name a neuron file"),
        (
            lambda path: save_file({"lora_down.weight": np.zeros((2, 2), np.float32)}, path),
            "is a LoRA, not a neuron file: expected format=cones .*found none; name a file that",
        ),
        (with_metadata(format="pt"), "expected format=cones in its metadata, found pt; name"),
        (
            with_metadata(format_version="2"),
            "a neuron file of version 1, found 2; upgrade",
        ),
        (with_metadata(format_version=None), "expected a neuron file of version 1, found none;"),
        (
            with_metadata(base_model=None),
            "incomplete: base_model is missing; " + DAMAGED,
        ),
        (with_metadata(digest=None), "expected the digest .*found none; " + DAMAGED),
        (with_metadata(strength="1.0"), "expected the digest .*; " + DAMAGED),
        (signed(strength="3.0"), "expected 0 to 2, found 3.0; " + DAMAGED),
        (signed(strength="x"), "strength: expected the shortest form .*found x; " + DAMAGED),
        (signed(strength="-0.0"), "strength: .*found -0.0; " + DAMAGED),
        (signed(base_fingerprint="0F"), "base_fingerprint: .* found '0F'; .*" + DAMAGED),
        (signed(strength="1.50"), "strength: .*found 1.50; " + DAMAGED),
        (signed(strength="nan"), "strength: expected 0 to 2, found nan; " + DAMAGED),
        (signed(info="[" * 9999), "info: .*at most 32 levels, found 9999.*" + DAMAGED),
        (signed(info='{"seed": "0"}'), "info: expected JSON without spaces.*" + DAMAGED),
        (signed(info='{"a":"0","a":"1"}'), "info: .*the key 'a' is there twice.*" + DAMAGED),
        (signed(info='{"a":NaN}'), "info: .*expected a finite number, found NaN.*" + DAMAGED),
        (signed(info='{"a":1e999}'), "info: .*expected a finite number, found 1e999.*" + DAMAGED),
        (signed(info='{"a":"\\ud800"}'), "info: .*surrogates not allowed.*" + DAMAGED),
        (signed(info='{"seed":0}'), "info seed: expected a text, found 0; " + DAMAGED),
        (signed(subjects="[1]"), "subjects: expected class_noun, prompt and token.*" + DAMAGED),
        (signed(subjects='[{"name":"x"}]'), "subjects: expected class_noun, .*" + DAMAGED),
        (signed(subjects="1"), "a list of subjects and an object of info .*" + DAMAGED),
        (without_a_tensor, "expected the digest .*; " + DAMAGED),
        (
            with_tensors(a__to_k=np.zeros(3, np.int64)),
            r"a.to_k: expected a vector of uint8, found int64 \[3\]; " + DAMAGED,
        ),
        (
            with_tensors(a__to_k=np.zeros((20, 1), np.uint8)),
            r"a.to_k: .*8 \[20, 1\]; " + DAMAGED,
        ),
        (
            with_tensors(a__to_k=np.zeros(9, np.uint8)),
            "12 bytes or more, found 9; " + DAMAGED,
        ),
        (with_tensors(a__to_k=np.zeros(20, np.float16)), r"a.to_k: .*float16 \[20\]; " + DAMAGED),
        (
            lambda path: path.write_bytes(file_of({"": coded(1, 1, 0)})),
            "expected a name for each layer, found an empty one; .*" + DAMAGED,
        ),
        (with_tensors(a__to_k=coded(0, 4, 0)), "a.to_k: .*found 0 x 4; " + DAMAGED),
        (with_tensors(a__to_k=coded(2**31, 2, 1)), "a.to_k: .*2147483648 x 2; " + DAMAGED),
        (
            with_tensors(a__to_k=coded(2**15, 2**16, 2**31)),
            "at most 134217728 neurons .*" + DAMAGED,
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
    with pytest.raises(NeuronFileError, match="expected at most 134217728 neurons"):
        from_bytes(file_of(tensors))


@pytest.mark.parametrize(
    ("out", "into", "count"),
    [(2**13, 2**14, 2**27), (2**13, 2**14, 2**27 - 1), (2**9, 2**14, 2**23)],
)
def test_few_bytes_take_little_memory(out: int, into: int, count: int) -> None:
    """A full matrix has a code of no bytes: so small a file may not stand for so much."""
    data = file_of({"a": coded(out, into, count)})
    tracemalloc.start()
    with pytest.raises(NeuronFileError, match=rf"fewer neurons in a file of {len(data)} bytes"):
        from_bytes(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("density", [0.001, 0.02, 0.29, 0.31, 0.5, 0.71, 1])
@pytest.mark.parametrize("tuned", [None, np.float16, "quaternary"])
def test_reading_takes_memory_in_proportion_to_the_file(density: float, tuned: object) -> None:
    size = 2**20
    index = np.flatnonzero(np.random.default_rng(0).random(size) < density)
    levels = np.array([0.5, -1, 2, 3], dtype=np.float32)
    rng = np.random.default_rng(1)
    value = rng.random(len(index)).astype(np.float32)
    if tuned == "quaternary":
        value = levels[rng.integers(0, 4, len(index))]
    elif tuned is not None:
        value = value.astype(tuned)
    data = to_bytes(ConceptNeurons({"a": (2**10, 2**10)}, {"a": index}, tuned and {"a": value}))
    tracemalloc.start()
    read = from_bytes(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(read) == len(index)
    assert peak <= 2**24 + 64 * len(data)


ODD = st.one_of(
    st.text(st.characters(), max_size=5),  # half surrogate pairs too
    st.sampled_from(["a", "a.values", ".values", "__metadata__", "", "a\0b", "\n"]),
    st.sampled_from([None, 1, 0.5, b"a", ()]),
)


@st.composite
def odd_neurons(draw: st.DrawFn) -> Callable[[], ConceptNeurons]:
    layer, texts, info = (
        draw(ODD),
        draw(st.lists(ODD, min_size=5, max_size=5)),
        draw(st.none() | ODD),
    )
    info = (
        {draw(st.just("a") | ODD.filter(lambda o: o.__hash__)): draw(ODD)} if info is None else info
    )
    strength = draw(st.floats() | st.sampled_from([-0.0, 1, True, "1", None]))
    tuned = draw(st.booleans())

    def made() -> ConceptNeurons:
        return ConceptNeurons(
            {layer: (2, 3)},
            {layer: np.array([1, 4])},
            {layer: np.array([0.5, 1e-30])} if tuned else None,
            (SubjectInfo(*texts[:3]),),
            strength,
            BaseInfo(*texts[3:]),
            info,
        )

    return made


@given(odd_neurons())
def test_what_is_saved_can_be_loaded(made: Callable[[], ConceptNeurons]) -> None:
    """Or it is refused, in one line that can be printed."""
    try:
        neurons = made()
        data = to_bytes(neurons)
    except InputError as error:
        assert len(str(error)) <= 300 and str(error).isprintable()
    else:
        read = from_bytes(data)
        assert read == neurons and read.info == neurons.info and to_bytes(read) == data
        assert load_tensors(data).keys() >= neurons.shapes.keys()  # by the format's own library too


def test_a_key_given_twice_is_no_way_round_the_digest(tmp_path: Path) -> None:
    data = to_bytes(SMALL)
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(b'"strength":"1.5"', b'"strength":"1.5","strength":"0.5"')
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    with pytest.raises(NeuronFileError, match="the key 'strength' is there twice"):
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
