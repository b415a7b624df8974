"""Stage 5: from training checkpoints to committed weights: a diffusers folder and toybox-clip."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer, VisionTextDualEncoderModel

from cones.toybox.models import new_scheduler


def export_pipeline(
    out: Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderTiny,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Writes a diffusers folder of float16 safetensors."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for model in (vae, unet):
        model.register_to_config(_name_or_path="")  # else the folder that it was opened from
    pipeline.to(torch.float16).save_pretrained(out)
    _readable(out)


def export_clip(out: Path, clip: VisionTextDualEncoderModel, tokenizer: CLIPTokenizer) -> None:
    """Writes toybox-clip as a transformers folder of float16 safetensors."""
    clip.to(torch.float16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    _readable(out)


def _readable(out: Path) -> None:
    for path in out.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors makes files that only their owner can read
