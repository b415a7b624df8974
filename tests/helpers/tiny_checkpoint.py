"""A tiny Stable Diffusion 1 as one file, in the names of the original implementation."""

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

Names = tuple[tuple[str, str], ...]

RESNET: Names = (
    (r"norm1", "in_layers.0"),
    (r"conv1", "in_layers.2"),
    (r"norm2", "out_layers.0"),
    (r"conv2", "out_layers.3"),
    (r"time_emb_proj", "emb_layers.1"),
    (r"conv_shortcut", "skip_connection"),
)
UNET: Names = (
    (r"time_embedding.linear_1", "time_embed.0"),
    (r"time_embedding.linear_2", "time_embed.2"),
    (r"conv_in", "input_blocks.0.0"),
    (r"conv_norm_out", "out.0"),
    (r"conv_out", "out.2"),
    (r"mid_block.resnets.0", "middle_block.0"),
    (r"mid_block.attentions.0", "middle_block.1"),
    (r"mid_block.resnets.1", "middle_block.2"),
)
# Of a UNet with two levels of one layer each: there are two blocks on each level.
BLOCKS: Names = (
    (r"down_blocks.(\d).resnets.0", "input_blocks.{0}+1.0"),
    (r"down_blocks.(\d).attentions.0", "input_blocks.{0}+1.1"),
    (r"down_blocks.(\d).downsamplers.0.conv", "input_blocks.{0}+2.0.op"),
    (r"up_blocks.(\d).resnets.(\d)", "output_blocks.{0}+{1}.0"),
    (r"up_blocks.(\d).attentions.(\d)", "output_blocks.{0}+{1}.1"),
    (r"up_blocks.(\d).upsamplers.0.conv", "output_blocks.{0}+1.2.conv"),
)
VAE: Names = (
    (r"mid_block.resnets.0", "mid.block_1"),
    (r"mid_block.resnets.1", "mid.block_2"),
    (r"mid_block.attentions.0", "mid.attn_1"),
    (r"group_norm", "norm"),
    (r"to_out.0", "proj_out"),
    (r"to_(q|k|v)", "{0}"),
    (r"down_blocks.(\d).resnets.(\d)", "down.{0}.block.{1}"),
    (r"down_blocks.(\d).downsamplers.0.conv", "down.{0}.downsample.conv"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
)


def renamed(name: str, names: Names) -> str:
    for pattern, replacement in names:
        name = re.sub(
            rf"\b{pattern}\b", lambda found, new=replacement: new.format(*found.groups()), name
        )
    return name


def unet_name(name: str) -> str:
    name = renamed(name, BLOCKS)
    name = re.sub(
        r"(?<=put_blocks\.)(\d)\+(\d)", lambda found: str(2 * int(found[1]) + int(found[2])), name
    )
    if not re.search(r"blocks\.\d\.1\.|mid_block\.attentions", name):
        name = renamed(name, RESNET)
    return "model.diffusion_model." + renamed(name, UNET)


def vae_name(name: str) -> str:
    for level in (0, 1):  # the decoder counts its levels from the other end
        name = name.replace(f"up_blocks.{level}.resnets.", f"up.{1 - level}.block.")
        name = name.replace(f"up_blocks.{level}.upsamplers.0.", f"up.{1 - level}.upsample.")
    return "first_stage_model." + renamed(name, VAE)


def save_checkpoint(pipeline: Any, path: Path) -> None:
    """Writes a `tiny_pipeline(kl=True)` as one file."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in pipeline.unet.state_dict().items():
        tensors[unet_name(name)] = tensor
    for name, tensor in pipeline.vae.state_dict().items():
        tensors[vae_name(name)] = tensor
    for name, tensor in pipeline.text_encoder.state_dict().items():
        name = name.removeprefix("text_model.")
        tensors[f"cond_stage_model.transformer.text_model.{name}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
