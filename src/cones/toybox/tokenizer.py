"""The toybox's own CLIP tokenizer: each word of its world is one token, other text is bytes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from cones.toybox.captions import WORDS

MAX_LENGTH = 64
START, END = "<|startoftext|>", "<|endoftext|>"


def _merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Byte-pair merges that make each word one token.

    The merges of a word come after those of the words before it, so that no later word can break
    an earlier one.
    """
    merges: list[tuple[str, str]] = []
    for word in words:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            known = [pair for pair in pairwise(parts) if pair in merges]
            pair = min(known, key=merges.index) if known else (parts[0], parts[1])
            if not known:
                merges.append(pair)
            parts = _merged(parts, pair)
    return merges


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    k = 0
    while k < len(parts):
        if tuple(parts[k : k + 2]) == pair:
            out.append(parts[k] + parts[k + 1])
            k += 2
        else:
            out.append(parts[k])
            k += 1
    return out


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Writes `vocab.json` and `merges.txt` and opens them as a `CLIPTokenizer`."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = _merges(WORDS)
    alphabet = list(bytes_to_unicode().values())
    tokens = alphabet + [c + "</w>" for c in alphabet] + [a + b for a, b in merges] + [START, END]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CLIPTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        model_max_length=MAX_LENGTH,
        pad_token=END,
    )
