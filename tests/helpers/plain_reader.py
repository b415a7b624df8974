"""A plain reader of neuron files, version 1, written from `format.md` alone."""

import hashlib
import json
import re
from typing import Any

import numpy as np

SEVEN = (
    "base_fingerprint",
    "base_model",
    "format",
    "format_version",
    "info",
    "strength",
    "subjects",
)
WIDTH = {"F32": 4, "F16": 2, "U8": 1}  # bytes of an element, in the order of the data


def need(condition: Any, problem: str) -> None:
    """Raises ValueError with the problem unless the condition holds."""
    if not condition:
        raise ValueError(f"not a neuron file: {problem}")


def unique(items: list) -> dict:
    """Makes an object of JSON; refuses a key that is there twice."""
    need(len(dict(items)) == len(items), "an object has a key twice")
    return dict(items)


def load(text: str, what: str) -> Any:
    """Reads JSON, all of whose text is Unicode."""
    try:
        value = json.loads(text, object_pairs_hook=unique)
        json.dumps(value, ensure_ascii=False).encode()
    except (json.JSONDecodeError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(f"not a neuron file: {what} is not JSON") from error
    return value


def strings(value: Any) -> bool:
    """Tells whether the value is an object of strings."""
    return isinstance(value, dict) and {type(v) for v in value.values()} <= {str}


def naturals(value: Any, length: int) -> bool:
    """Tells whether the value is a list of that many integers from 0."""
    return (
        isinstance(value, list)
        and len(value) == length
        and {type(v) for v in value} <= {int}
        and min(value) >= 0
    )


def digest(meta: dict, tensors: dict) -> str:
    """Computes the digest from the metadata and the (dtype, bytes) of each tensor."""
    order = sorted(tensors, key=lambda name: (-WIDTH[tensors[name][0]], name))
    header, at = {"__metadata__": {key: meta[key] for key in SEVEN}}, 0
    for name in order:
        dtype, size = tensors[name][0], len(tensors[name][1])
        header[name] = {
            "dtype": dtype,
            "shape": [size // WIDTH[dtype]],
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    parts = [len(text).to_bytes(8, "little"), text, *(tensors[name][1] for name in order)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:32]


def container(data: bytes) -> tuple[dict, dict]:
    """Returns the metadata, and the (dtype, bytes) of each tensor, of an undamaged file."""
    start = 8 + int.from_bytes(data[:8], "little")
    text = data[8:start]
    need(len(data) >= max(8, start) and start % 8 == 0, "the length of the header is wrong")
    need(
        text.isascii() and text.startswith(b"{") and text.rstrip(b" ").endswith(b"}"),
        "the header is no ASCII object",
    )
    header = load(text.decode(), "the header")
    meta = header.pop("__metadata__", None)
    need(strings(meta) and meta.get("format") == "cones", "the format is not cones")
    need(meta.get("format_version") == "1", "the version is not 1")
    need({*SEVEN, "digest"} <= set(meta), "a key of the metadata is missing")
    tensors, spans = {}, []
    for name, entry in header.items():
        need(
            isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"},
            f"{name}: bad entry",
        )
        dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
        need(dtype in ("F32", "F16", "U8"), f"{name}: bad dtype")
        need(naturals(shape, 1) and naturals(span, 2), f"{name}: bad shape or offsets")
        need(span[1] - span[0] == shape[0] * WIDTH[dtype], f"{name}: shape and offsets disagree")
        tensors[name] = dtype, data[start + span[0] : start + span[1]]
        spans.append(span)
    edges = [0, *(edge for span in sorted(spans) for edge in span), len(data) - start]
    need(edges[::2] == edges[1::2], "the tensors overlap, leave gaps, or do not end with the file")
    need(digest(meta, tensors) == meta["digest"], "the digest does not match, the file is damaged")
    return meta, tensors


class Bits:
    """The bits of a code, taken from the front."""

    def __init__(self, code: bytes):
        self.left = np.unpackbits(np.frombuffer(code, np.uint8))

    def take(self, number: int) -> np.ndarray:
        """Takes that many bits."""
        need(number <= len(self.left), "a code is too short")
        bits, self.left = self.left[:number], self.left[number:]
        return bits


def others(indices: np.ndarray, size: int) -> np.ndarray:
    """Returns the places that are not among the indices."""
    free = np.ones(size, bool)
    free[indices] = False
    return np.flatnonzero(free)


def decode(bits: Bits, count: int, size: int) -> np.ndarray:
    """Decodes the indices of count ones among size places."""
    need(0 <= count <= size, "a code has an impossible number of ones")
    if 2 * count > size:
        return others(decode(bits, size - count, size), size)
    if count == 0:
        return np.zeros(0, np.int64)
    if 10 * count <= 3 * size:
        m = max(1, (693 * size + 150 * count) // (1000 * count))
        b = m.bit_length() - 1
        short = 2 ** (b + 1) - m
        ends = np.flatnonzero(bits.left)[:count]
        need(count == len(ends), "a code is too short")
        bits.take(int(ends[-1]) + 1)
        q, r = np.diff(ends, prepend=-1) - 1, np.zeros(count, np.int64)
        need(int(q.sum()) * m + count <= size, "an index is too large")
        for column in bits.take(count * b).reshape(count, b).T:
            r = 2 * r + column
        long = r >= short
        r[long] = 2 * r[long] - short + bits.take(int(long.sum()))
        indices = np.cumsum(q * m + r) + np.arange(count)
        need(indices[-1] < size, "an index is too large")
        return indices
    differ = bits.take(size // 2) == 1
    first = np.zeros(size // 2, bool)
    first[differ] = bits.take(int(differ.sum()))
    last = bits.take(size % 2)
    twice = count - int(differ.sum()) - int(last.sum())
    need(twice % 2 == 0, "the pairs of a code do not match its count")
    alike = np.flatnonzero(~differ)
    first[alike[decode(bits, twice // 2, len(alike))]] = True
    return np.flatnonzero(np.concatenate([np.stack([first, first ^ differ], axis=1).ravel(), last]))


def tuned(dtype: str, data: bytes, count: int) -> np.ndarray:
    """Reads the values of a layer's neurons."""
    if dtype == "U8" and count:
        number = np.unpackbits(np.frombuffer(data[16:], np.uint8)).reshape(-1, 2) @ [2, 1]
        need(
            len(number) == -(-count // 4) * 4 and not number[count:].any(),
            "values are too few, or go on",
        )
        bits = np.frombuffer(data[:16], "<u4")[number[:count]]
        levels, numbers = np.unique(bits, return_inverse=True)
        filled = levels[np.minimum(range(4), len(levels) - 1)].astype("<u4").tobytes()
        need(
            filled == data[:16] and (numbers == number[:count]).all(),
            "levels are not in order, or not all in use",
        )
        values = bits.view("<f4").astype(np.float32)
    else:
        values = np.frombuffer(data, "<f2" if dtype == "F16" else "<f4").astype(np.float32)
        need(len(values) == count, "values are too few, or go on")
    need(np.isfinite(values).all(), "a value is not finite")
    return values


def read(data: bytes) -> dict[str, Any]:
    """Reads a neuron file.

    Args:
      data: The bytes of the file.

    Returns:
      Its shapes, indices (int64) and values (float32) by layer, values None where there are none;
      its subjects, strength, base_model, base_fingerprint and info.

    Raises:
      ValueError: These are not the bytes of a neuron file of version 1, or it is damaged.
    """
    meta, tensors = container(data)
    subjects, info = load(meta["subjects"], "subjects"), load(meta["info"], "info")
    need(
        isinstance(subjects, list) and all(map(strings, subjects)),
        "subjects is not a list of objects of strings",
    )
    need(
        all(set(s) == {"class_noun", "prompt", "token"} for s in subjects),
        "a subject has other keys",
    )
    tokens = [s["token"] for s in subjects]
    need(tokens == sorted(set(tokens)), "subjects are not sorted by token, or one is there twice")
    need(strings(info), "info is not an object of strings")
    for key, value in (("subjects", subjects), ("info", info)):
        need(
            json.dumps(value, sort_keys=True, separators=(",", ":")) == meta[key],
            f"{key} is not in canonical form",
        )
    strength, fingerprint = load(meta["strength"], "strength"), meta["base_fingerprint"]
    need(type(strength) is float and 0 <= strength <= 2, "strength is no number from 0 to 2")
    need(repr(strength + 0.0) == meta["strength"], "strength is not in canonical form")
    need(re.fullmatch("([0-9a-f]{32})?", fingerprint), "base_fingerprint is not 32 hex digits")

    layers = sorted(name for name in tensors if not name.endswith(".values"))
    forms = {tensors[name][0] for name in tensors if name.endswith(".values")}
    expected = {*layers, *(f"{layer}.values" for layer in layers)} if forms else set(layers)
    need(all(layers), "a layer has no name")
    need(
        layers and len(forms) <= 1 and set(tensors) == expected,
        "the layers' values are not all there, in one form",
    )
    heads, found = {}, {}
    for layer in layers:
        dtype, content = tensors[layer]
        need(dtype == "U8" and len(content) >= 12, f"{layer}: there is no head")
        height, width, count = heads[layer] = np.frombuffer(content[:12], "<u4").tolist()
        need(
            1 <= height * width <= 2**31 and count <= height * width,
            f"{layer}: the head is out of bounds",
        )
    need(sum(count for _, _, count in heads.values()) <= 2**27, "there are too many neurons")
    # First the rarer places, of which there are no more than the code has room for.
    for layer, (height, width, count) in heads.items():
        bits = Bits(tensors[layer][1][12:])
        found[layer] = decode(bits, min(count, height * width - count), height * width)
        need(len(bits.left) < 8 and not bits.left.any(), f"{layer}: the code goes on")
    for layer, (height, width, count) in heads.items():
        if count > len(found[layer]):
            found[layer] = others(found[layer], height * width)
    values = {k: tuned(*tensors[f"{k}.values"], heads[k][2]) for k in layers} if forms else None
    return {
        "shapes": {layer: (height, width) for layer, (height, width, _) in heads.items()},
        "indices": found,
        "values": values,
        "subjects": subjects,
        "strength": strength,
        "base_model": meta["base_model"],
        "base_fingerprint": fingerprint,
        "info": info,
    }
