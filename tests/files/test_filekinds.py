"""A file of another kind is called by its name."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save

from cones.errors import NeuronFileError
from cones.neurons.neuronfile import from_bytes, load

ONE = np.ones((1, 1), np.float32)


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a", "b")
    return data.getvalue()


def torch_file(legacy: bool) -> bytes:
    data = io.BytesIO()
    torch.save({"a": torch.ones(1)}, data, _use_new_zipfile_serialization=not legacy)
    return data.getvalue()


def picture(kind: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (2, 2)).save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "run `git lfs pull`"),
        (zipped(), "is a zip archive"),
        (torch_file(False), "is a zip archive (a torch .bin, .pt or .ckpt file?)"),
        (torch_file(True), "is a pickle (a torch .bin or .pt file?)"),
        (pickle.dumps({"a": 1}), "is a pickle"),
        (pickle.dumps({"a": 1}, protocol=2), "is a pickle"),
        (gzip.compress(b"a"), "is compressed with gzip; unpack it"),
        (bz2.compress(b"a"), "is compressed with bzip2"),
        (lzma.compress(b"a"), "is compressed with xz"),
        (b"GGUF\3\0\0\0\0\0\0\0", "is a GGUF file"),
        (picture("PNG"), "is a picture"),
        (picture("JPEG"), "is a picture"),
        (picture("WEBP"), "is a picture"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (json.dumps({"peft_type": "LORA"}).encode(), "is JSON"),
        (b"\xef\xbb\xbf{}", "is JSON"),
        (b"no neurons at all", "expected a safetensors file, found 17 bytes of something else"),
        (save({"a": ONE})[:-1], "is a safetensors file of another kind"),
        (save({"a": ONE})[:20], "truncated or damaged"),
    ],
)
def test_what_is_no_safetensors_file(data: bytes, said: str) -> None:
    with pytest.raises(NeuronFileError) as caught:
        from_bytes(data, "x")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("names", "metadata", "said"),
    [
        (["base_model.model.unet.to_k.lora_A.weight"], {}, "a LoRA"),
        (["lora_unet_down_blocks_0.lora_down.weight"], {"ss_network_dim": "8"}, "a LoRA"),
        (["unet.up.to_q.lora.up.weight"], {}, "a LoRA"),
        (["emb_params"], {}, "an embedding of textual inversion"),
        (["model.diffusion_model.out.0.weight"], {"format": "pt"}, "a whole model"),
        (["down_blocks.0.resnets.0.conv1.weight"], {"format": "pt"}, "a UNet or transformer alone"),
        (["encoder.conv_in.weight"], {"format": "pt"}, "an autoencoder alone"),
        (["text_model.embeddings.token_embedding.weight"], {}, "a text encoder"),
        (["a"], {"format": "cones-artifact"}, "a file of `cones fit`"),
        (["a"], {"format": "cones-checkpoint"}, "a checkpoint of an unfinished search"),
    ],
)
def test_another_safetensors_file(names: list[str], metadata: dict[str, str], said: str) -> None:
    with pytest.raises(NeuronFileError) as caught:
        from_bytes(save(dict.fromkeys(names, ONE), metadata), "x")
    assert str(caught.value).startswith(f"x: is {said}")
    assert "not a neuron file: expected format=cones" in str(caught.value)


def test_a_tar_archive_is_no_safetensors_file(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(__file__, "a")
    with pytest.raises(NeuronFileError, match="expected a safetensors file"):
        load(tmp_path / "a.tar")
