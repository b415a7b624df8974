"""What a file is that is not the one that was asked for, so that a refusal can say it."""

from collections.abc import Iterable, Mapping

_NEVER = "which is never opened, since it can run code"

# How files begin, and what is to be said of them.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a git-LFS pointer, not the file itself; run `git lfs pull`"),
    (b"PK\x03\x04", f"is a zip archive (a torch .bin, .pt or .ckpt file?), {_NEVER}; {{name}}"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it (gunzip), then {name}"),
    (b"\xfd7zXZ\0", "is compressed with xz; unpack it, then {name}"),
    (b"BZh", "is compressed with bzip2; unpack it, then {name}"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it, then {name}"),
    (b"7z\xbc\xaf", "is a 7z archive; unpack it, then {name}"),
    (b"Rar!", "is a rar archive; unpack it, then {name}"),
    (b"GGUF", "is a GGUF model; {name}"),
    (b"\x89PNG", "is a picture; {name}"),
    (b"\xff\xd8\xff", "is a picture; {name}"),
    (b"GIF8", "is a picture; {name}"),
    (b"RIFF", "is a picture; {name}"),
    (b"%PDF", "is a PDF document; {name}"),
    (b"\x89HDF", "is an HDF5 file; {name}"),
    (b"\x93NUMPY", "is a numpy array; {name}"),
    (b"<", "is a web page, not the file itself; download it by its download button"),
    (b"{", "is JSON; {name}"),
    (b"[", "is JSON; {name}"),
)

# Parts of the names of tensors, and what has them; the first that occurs decides.
_NAMES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("lora_", ".lora", "lokr_", "hada_"), "a LoRA"),
    (("model.diffusion_model.", "unet.", "double_blocks.", "joint_blocks."), "a whole model"),
    (("emb_params", "string_to_param", "<"), "an embedding of Textual Inversion"),
    (("down_blocks.", "transformer_blocks."), "a denoiser (UNet or transformer)"),
    (("encoder.conv_in", "decoder.conv_in"), "a VAE"),
    (("text_model.", "token_embedding"), "a text encoder"),
)

_FORMATS = {
    "cones": "a neuron file",
    "cones-artifact": "a file of `cones fit`",
    "cones-checkpoint": "a checkpoint of an unfinished search",
    "cones-export": "a file of `cones export` (`cones import` reads it)",
}


def other_file(head: bytes, size: int, wanted: str) -> str:
    """What is wrong with a file that is no safetensors file, and what to do.

    Args:
        head: its first bytes, up to about 512.
        size: of the whole, in bytes.
        wanted: what was asked for, "a neuron file".
    """
    if not size:
        return "is empty; copy or download it again"
    if head[4:9] == b"\0\0\0\0{":
        return (
            f"expected a whole safetensors file, found {size} bytes, truncated or damaged; copy or "
            "download it again"
        )
    plain = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for beginning, said in _BEGINNINGS:
        if plain.startswith(beginning):
            return said.format(name=f"name {wanted}")
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return f"is a pickle (a torch .bin or .pt file?), {_NEVER}; name {wanted}"
    return f"expected a safetensors file, found {size} bytes of something else; name {wanted}"


def other_safetensors(names: Iterable[str], metadata: Mapping[str, str]) -> str:
    """What a safetensors file holds, as far as its names tell: "a LoRA".

    Args:
        names: of its tensors.
        metadata: its own.
    """
    if metadata.get("format") in _FORMATS:
        return _FORMATS[metadata["format"]]
    names = list(names)
    for parts, what in _NAMES:
        if any(part in name for part in parts for name in names):
            return what
    return "a safetensors file of another kind"
