"""Reads damaged and forged files, and measures what they do.

    python -m benchmarks.fuzz --inputs 500000

Each input is a sound file that was changed at random: bytes of it, or what it says, and then signed
anew, so that what lies behind the digest is reached too. Reading one must succeed or raise a
`ConesError` that is one printable line, take less than a second of the processor, and at no time
hold more than 64 MB and 64 times the file's size. Input NUMBER of a target is the same on every
machine; `--target NAME --first NUMBER --inputs 1` makes it again. Exit status 1 tells of a fault.
"""

import argparse
import json
import struct
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from cones.errors import ConesError
from cones.files.textfiles import read_json_lines
from cones.files.writing import KINDS
from cones.methods import trained_weights
from cones.neurons import neuronfile
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.container import Format
from cones.sampling.pictures import read_provenance
from cones.search import checkpoint
from cones.subjects.pngtext import SIGNATURE

SLACK, FACTOR, SECONDS = 2**26, 64, 1.0
INTEGERS = (0, 1, 2, 3, 7, 255, 2**13, 2**14, 2**16, 2**27, 2**31 - 1, 2**31, 2**32 - 1)
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**63, 2**64, 10**999, 0.5, float("nan"), float("inf"), "",
    "1", "\0", "\x1b[2J", "a\nb", "\u202e", "\ud800", "é", "a.values", "__metadata__",
    [], {}, [[]], [{}], "A" * 100_000,
    {"": ""}, "x" * 5000, [0] * 500, "[" * 3000, "cones", "nan", "1e999", "-0.0",
)  # fmt: skip

Read = Callable[[Path], object]
Change = Callable[[Random, bytes], bytes]


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        seeds: sound files.
        read: reads one.
        change: changes what one says.
    """

    seeds: tuple[bytes, ...]
    read: Read
    change: Change


@dataclass
class Found:
    """What the inputs of a target did."""

    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    peak: int = 0
    share: float = 0.0  # of the memory that is allowed
    faults: list[str] = field(default_factory=list)


def damaged(rng: Random, data: bytes) -> bytes:
    """Some bytes changed, cut off, repeated or put in."""
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 2, 4, 8, 64, 1000)))
        part = data[at:to]
        new = rng.choice((
            b"",
            part * 2,
            bytes(byte ^ 1 << rng.randrange(8) for byte in part[:1]) + part[1:],
            rng.randbytes(len(part)),
            struct.pack("<I", rng.choice(INTEGERS)) + part[4:],
            json.dumps(rng.choice(ODD)).encode()[:5000],
        ))  # fmt: skip
        data = data[:at] + new + data[to:]
        if rng.random() < 0.1:
            data = data[: rng.randrange(len(data) + 1)]
    return data


def changed_json(rng: Random, value: Any) -> Any:
    """Another value, or this one with a part of it changed, removed or added."""
    if not value or not isinstance(value, dict | list) or rng.random() < 0.2:
        return rng.choice(ODD)
    value = dict(value) if isinstance(value, dict) else list(value)
    at = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    action = rng.random()
    if action < 0.15:
        del value[at]
    elif action < 0.3 and isinstance(value, dict):
        value[str(rng.choice(ODD))] = value.pop(at)
    elif action < 0.3:
        value += value
    else:
        value[at] = changed_json(rng, value[at])
    return value


def container_change(form: Format) -> Change:
    """Changes what a container says, and signs it anew; or its header."""

    def change(rng: Random, data: bytes) -> bytes:
        held = form.from_bytes(data, "seed")
        keys = form.signed or held.metadata.keys() - {"format", "format_version", "digest"}
        metadata = {key: held.metadata[key] for key in sorted(keys)}
        tensors = dict(held.tensors)
        for _ in range(rng.choice((1, 1, 2, 3))):
            if rng.random() < 0.4:
                change_texts(rng, metadata)
            else:
                change_tensors(rng, tensors)
        try:
            changed = b"".join(form.parts(tensors, metadata))
        except ConesError:  # what no file can hold
            return damaged(rng, data)
        return changed_header(rng, changed) if rng.random() < 0.2 else changed

    return change


def change_texts(rng: Random, texts: dict[str, str]) -> None:
    """Changes one text, or the JSON in it."""
    if not texts:
        return
    key = rng.choice(sorted(texts))
    try:
        value = changed_json(rng, json.loads(texts[key]))
        texts[key] = json.dumps(value, sort_keys=rng.random() < 0.9, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError):  # no JSON, or keys that cannot be sorted
        texts[key] = str(rng.choice(ODD))
    if rng.random() < 0.05:
        del texts[key]


def change_tensors(rng: Random, tensors: dict[str, np.ndarray]) -> None:
    """Renames, removes, retypes, reshapes or damages one tensor, or changes its head."""
    if not tensors:
        tensors["a"] = np.zeros(12, np.uint8)
    name = rng.choice(sorted(tensors))
    tensor, action = tensors.pop(name), rng.random()
    data, dtype, shape = tensor.tobytes(), tensor.dtype, tensor.shape
    if action < 0.08:
        return
    if action < 0.2:
        name = rng.choice((str(rng.choice(ODD)), f"{name}.values", name.removesuffix(".values")))
    elif action < 0.6:
        heads = [struct.pack("<I", rng.choice(INTEGERS)) for _ in range(3)]
        kept = [rng.random() < 0.5 or not data for _ in heads]
        parts = [data[4 * i : 4 * i + 4] if keep else heads[i] for i, keep in enumerate(kept)]
        data = b"".join(parts) + data[12:]
    else:
        data = damaged(rng, data)
    if rng.random() < 0.3:
        dtype = np.dtype(KINDS[rng.choice(list(KINDS))])
    array = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
    keeps = array.size == tensor.size and rng.random() < 0.8
    tensors[name] = array.reshape(shape if keeps else rng.choice(((-1,), (1, -1), (-1, 1, 1))))


def changed_header(rng: Random, data: bytes) -> bytes:
    """The same data after a header with something else in it."""
    length = int.from_bytes(data[:8], "little")
    header = changed_json(rng, json.loads(data[8 : 8 + length]))
    text = json.dumps(header, ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def png_change(rng: Random, data: bytes) -> bytes:
    """Changes, removes, repeats or adds chunks, and mends their checksums."""
    chunks, at = [], len(SIGNATURE)
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(chunks))
        kind, text = chunks[at]
        odd = str(rng.choice(ODD)).encode("utf-8", "surrogatepass")
        key = rng.choice((b"cones", b"file", b"layers", b"prompt", b"hash", b"", odd[:80]))
        chunks[at : at + 1] = rng.choice((
            [],
            [(kind, text), (kind, text)],
            [(kind, damaged(rng, text))],
            [(rng.choice((b"IDAT", b"IEND", b"IHDR", rng.randbytes(4))), text)],
            [(kind, text), (b"tEXt", key + b"\0" + odd)],
            [(kind, text), (b"iTXt", key + b"\0\0\0\0\0" + odd)],
            [(kind, text), (b"iTXt", key + b"\0\1\0\0\0" + zlib.compress(odd))],
            [(kind, text), (b"zTXt", key + b"\0\0" + zlib.compress(odd * rng.choice((1, 999))))],
        ))  # fmt: skip
        chunks = chunks or [(b"IEND", b"")]
    return png(chunks)


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of chunks, with their checksums."""
    return SIGNATURE + b"".join(
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
        for kind, text in chunks
    )


def lines_change(rng: Random, data: bytes) -> bytes:
    """Changes the JSON of one line."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    value = changed_json(rng, json.loads(lines[at]))
    lines[at] = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    return rng.choice((b"\n", b"\n", b"\r\n", b"\r")).join(lines)


def neurons() -> tuple[bytes, ...]:
    """Neuron files of all densities and forms of values."""
    rng, files = np.random.default_rng(0), []
    for density in (0.0, 0.05, 0.4, 0.8, 1.0):
        shapes = {"a.to_k": (24, 16), "a.to_v": (9, 5), "b.to_k": (1, 1)}
        index = {
            name: np.flatnonzero(rng.random(out * into) < density)
            for name, (out, into) in shapes.items()
        }
        forms = (
            None,
            {name: rng.random(len(each)).astype(np.float16) for name, each in index.items()},
            {name: rng.standard_normal(len(each)) for name, each in index.items()},
            {name: rng.choice([-1, 0, 0.5], len(each)) for name, each in index.items()},
        )
        subject, base = (
            SubjectInfo("sks", "robot", "a photo of a sks robot"),
            BaseInfo("m", "ab" * 16),
        )
        for values in forms:
            made = ConceptNeurons(shapes, index, values, (subject,), 1.5, base, {"seed": "0"})
            files.append(neuronfile.to_bytes(made))
    return tuple(files)


def artifact() -> bytes:
    """A file of `cones fit` with one of every kind of change."""
    made = trained_weights.TunedWeights(
        "lora",
        (SubjectInfo("sks", "robot"),),
        BaseInfo("m", "ab" * 16),
        {"sks": torch.ones(4)},
        {"unet.x.weight": torch.ones(2, 3)},
        {"y": (torch.ones(1, 3), torch.ones(2, 1))},
        {"seed": "0", "config": "{}"},
    )
    with tempfile.TemporaryDirectory() as folder:
        made.save(Path(folder) / "a")
        return (Path(folder) / "a").read_bytes()


IDENTITY = {"method": "mask", "token": "sks", "steps": 50}


def state() -> dict[str, torch.Tensor]:
    """What a search leaves from one step to the next."""
    return {"scores": torch.ones(6, 4), "step": torch.ones(1, dtype=torch.int64)}


def kept() -> bytes:
    """A checkpoint."""
    arrays = {name: tensor.numpy() for name, tensor in state().items()}
    metadata = {"identity": json.dumps(IDENTITY), "step": "12"}
    return b"".join(checkpoint.FORMAT.parts(arrays, metadata))


def resume(path: Path) -> None:
    """Resumes a search."""
    with checkpoint.Checkpoint(path, resume=True).opened(IDENTITY) as search:
        search.restore(state(), 50)


def picture() -> bytes:
    """A PNG file with the texts that cones writes."""
    texts = {
        b"cones": b"1",
        b"prompt": b"a sks robot",
        b"seed": b"0",
        b"parameters": b"a\nSteps: 1",
    }
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), *((b"tEXt", key + b"\0" + text) for key, text in texts.items())]
    return png([*chunks, (b"IDAT", b"nothing"), (b"IEND", b"")])


METADATA = b"""{"file_name": "0.png", "text": "a photo of a sks robot", "class": "robot"}
{"file_name": "1.png", "token": "sks", "class_noun": "robot", "tags": ["a", {"b": [1, 2.5]}]}
"""


def targets() -> dict[str, Target]:
    """What is read, by its name."""
    return {
        "neurons": Target(neurons(), read_neurons, container_change(neuronfile.FORMAT)),
        "artifacts": Target(
            (artifact(),),
            trained_weights.TunedWeights.load,
            container_change(trained_weights.FORMAT),
        ),
        "checkpoints": Target((kept(),), resume, container_change(checkpoint.FORMAT)),
        "pictures": Target((picture(),), read_provenance, png_change),
        "metadata": Target((METADATA,), read_json_lines, lines_change),
    }


def read_neurons(path: Path) -> None:
    """Reads a neuron file; what was read can be written and read again."""
    found = neuronfile.load(path)
    again = neuronfile.from_bytes(neuronfile.to_bytes(found))
    assert again == found and again.info == found.info


def fuzz(target: Target, name: str, seed: int, first: int, inputs: int, folder: Path) -> Found:
    """Reads inputs of a target, and measures each."""
    found, path = Found(), folder / name
    tracemalloc.start()
    for number in range(first, first + inputs):
        rng = Random(f"{seed} {name} {number}")
        data = rng.choice(target.seeds)
        data = (damaged if rng.random() < 0.3 else target.change)(rng, data)
        path.write_bytes(data)
        tracemalloc.reset_peak()
        held, began = tracemalloc.get_traced_memory()[0], time.process_time()
        fault = None
        try:
            target.read(path)
            found.accepted += 1
        except ConesError as error:
            if not str(error).isprintable() or len(str(error)) > 300:
                fault = f"its error is no short printable line: {str(error)!r}"
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        seconds = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1] - held
        share = peak / (SLACK + FACTOR * len(data))
        if share > 1 or seconds > SECONDS:
            fault = fault or f"{seconds:.2f} s, {peak:,} bytes of memory for {len(data):,} bytes"
        if fault:
            found.faults.append(f"{name} {number}: {fault}")
        found.inputs += 1
        found.seconds = max(found.seconds, seconds)
        found.peak, found.share = max(found.peak, peak), max(found.share, share)
    tracemalloc.stop()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--target", choices=targets(), help="only this one")
    given = parser.parse_args()
    chosen = {n: t for n, t in targets().items() if given.target in (None, n)}
    faults: list[str] = []
    print(f"{'':12}{'inputs':>9}{'read':>9}{'faults':>8}{'slowest':>10}{'most memory':>16}")
    with tempfile.TemporaryDirectory() as folder:
        for name, target in chosen.items():
            inputs = given.inputs // len(chosen)
            found = fuzz(target, name, given.seed, given.first, inputs, Path(folder))
            print(
                f"{name:12}{found.inputs:9,}{found.accepted:9,}{len(found.faults):8}"
                f"{found.seconds:8.3f} s{found.peak:9,} bytes",
                flush=True,
            )
            faults += found.faults
    for fault in faults[:20]:
        print(ascii(fault))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
