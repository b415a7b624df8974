"""The real vocabulary of CLIP, where its merges lie beside the repository; else tests skip."""

import gzip
import os
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

MERGES = "clip-merges.txt.gz"


@cache
def clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of Stable Diffusion, built from the public merges."""
    merges = [tuple(line.split()) for line in _merges().splitlines()[1:48895]]
    alphabet = [*bytes_to_unicode().values()]
    ends = [f"{letter}</w>" for letter in alphabet]
    joined = ["".join(pair) for pair in merges]
    words = chain(alphabet, ends, joined, ("<|startoftext|>", "<|endoftext|>"))
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def _merges() -> str:
    """The merges of `CONES_TEST_DATA`, or of the nearest `shared/data` above the repository."""
    above = (folder / "shared" / "data" for folder in Path(__file__).resolve().parents)
    named = os.environ.get("CONES_TEST_DATA")
    for folder in [Path(named)] if named else above:
        if (folder / MERGES).is_file():
            return gzip.decompress((folder / MERGES).read_bytes()).decode()
    pytest.skip(f"{MERGES} is not there; name its folder in CONES_TEST_DATA")
