"""What a file is that is not the one that was asked for, so that a refusal can say it."""

import re
from collections.abc import Iterable, Mapping

_NEVER = "which is never opened, since it can run code"

# How files begin, and what is to be said of them.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a git-LFS pointer, not the file itself; run `git lfs pull`"),
    (b"PK\x03\x04", f"is a zip archive (a torch .bin, .pt or .ckpt file?), {_NEVER}; {{remedy}}"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it (gunzip), then {remedy}"),
    (b"\xfd7zXZ\0", "is compressed with xz; unpack it, then {remedy}"),
    (b"BZh", "is compressed with bzip2; unpack it, then {remedy}"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it, then {remedy}"),
    (b"7z\xbc\xaf", "is a 7z archive; unpack it, then {remedy}"),
    (b"Rar!", "is a rar archive; unpack it, then {remedy}"),
    (b"GGUF", "is a GGUF file of quantised weights; {remedy}"),
    (b"\x89PNG", "is a picture; {remedy}"),
    (b"\xff\xd8\xff", "is a picture; {remedy}"),
    (b"GIF8", "is a picture; {remedy}"),
    (b"RIFF", "is a picture; {remedy}"),
    (b"%PDF", "is a PDF document; {remedy}"),
    (b"\x89HDF", "is an HDF5 file; {remedy}"),
    (b"\x93NUMPY", "is a numpy array; {remedy}"),
    (b"<", "is a web page, not the file itself; download it by its download button"),
    (b"{", "is JSON; {remedy}"),
    (b"[", "is JSON; {remedy}"),
)

# What the name of a tensor looks like, and what has such a tensor; the first that is found decides.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"lora|\.alpha$|hada_w|lokr_w|oft_blocks|dora_scale", "a LoRA"),
    (r"control_model\.|controlnet_|input_hint_block", "a ControlNet"),
    (r"motion_modules\.", "a motion module"),
    (r"^(image_proj|ip_adapter)\.", "an IP-Adapter"),
    (r"^(adapter|body)\.", "a T2I-Adapter"),
    (r"^(emb_params|string_to_param.*|clip_[lg]|<.*>)$", "an embedding of textual inversion"),
    (r"^model\.diffusion_model\.", "a whole model"),
    (
        r"^(unet\.)?(down|input|double|joint|transformer)_blocks\.",
        "a UNet or transformer alone",
    ),
    (r"text_model\.|self_attn|^encoder\.block\.|^(conditioner|cond_)", "a text encoder alone"),
    (r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|down|up|layers)", "an autoencoder alone"),
)

_FORMATS = {
    "cones": "a neuron file",
    "cones-artifact": "a file of `cones fit`",
    "cones-checkpoint": "a checkpoint of an unfinished search",
    "cones-export": "a file of `cones export` (`cones import` reads it)",
}


def other_file(head: bytes, size: int, remedy: str) -> str:
    """What is wrong with a file that is no safetensors file, and what to do.

    Args:
        head: its first bytes, up to about 512.
        size: of the whole, in bytes.
        remedy: what to do where the file is no damaged copy: "name a neuron file".
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
            return said.format(remedy=remedy)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return f"is a pickle (a torch .bin or .pt file?), {_NEVER}; {remedy}"
    return f"expected a safetensors file, found {size} bytes of something else; {remedy}"


def other_safetensors(names: Iterable[str], metadata: Mapping[str, str]) -> str:
    """What a safetensors file holds, as far as its names tell: "a LoRA".

    Args:
        names: of its tensors.
        metadata: its own.
    """
    if metadata.get("format") in _FORMATS:
        return _FORMATS[metadata["format"]]
    names = list(names)
    for pattern, what in _NAMES:
        if any(re.search(pattern, name) for name in names):
            return what
    return "a safetensors file of another kind"
