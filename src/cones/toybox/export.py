"""Stage 5: from training checkpoints to committed weights: a diffusers folder and toybox-clip."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer, VisionTextDualEncoderModel

from cones.toybox.models import new_scheduler


def export(
    out: Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderTiny,
    text_encoder: CLIPTextModel,
    clip: VisionTextDualEncoderModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Writes `out/pipeline` and `out/clip` as float16 safetensors."""
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
    pipeline.to(torch.float16)
    pipeline.save_pretrained(out / "pipeline")
    clip.to(torch.float16).save_pretrained(out / "clip")
    tokenizer.save_pretrained(out / "clip")
    for path in out.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors makes files that only their owner can read
