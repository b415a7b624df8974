"""The toybox's training recipe: pictures, text tower, autoencoder, toybox-clip, UNet, export.

`python -m cones.toybox.recipe --folder runs/toybox` runs every stage that is left and goes on where
an earlier run stopped; `--stage` runs one. All choices stand in `recipe.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer, VisionTextDualEncoderModel

from cones.toybox.data import pictures
from cones.toybox.export import export_clip, export_pipeline
from cones.toybox.tokenizer import build_tokenizer
from cones.toybox.train_clip import train_clip
from cones.toybox.train_text import train_text
from cones.toybox.train_unet import common_captions, read_new_states, train_unet
from cones.toybox.train_vae import train_vae
from cones.toybox.training import steps_done

STAGES = ("text", "vae", "clip", "unet", "export")


class Recipe:
    """The stages of one run in one folder.

    With `start`, a folder as `export` writes it, autoencoder and UNet begin with its weights where
    they have no checkpoint yet. Its text tower is taken as it is, if it knows the same words;
    otherwise one is trained from nothing, and the UNet is turned to read it.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], workers: int = 2, start: Path | None = None
    ) -> None:
        """Renders the pictures, or opens those that are there."""
        self.folder, self.config, self.start = folder, config, start and start / "pipeline"
        self.images = pictures(folder, config["seed"], config["pictures"], workers)
        self.tokenizer = build_tokenizer(folder / "tokenizer")

    def vae(self) -> AutoencoderTiny:
        """The trained autoencoder."""
        start = self.start and AutoencoderTiny.from_pretrained(self.start / "vae")
        own = (self.config["vae"], self.images, self.config["seed"], self.folder)
        return train_vae(*own, start)

    def clip(self) -> VisionTextDualEncoderModel:
        """The trained toybox-clip."""
        own = (self.config["clip"], self.images, self.config["seed"], self.tokenizer, self.folder)
        return train_clip(*own, self.text_encoder())

    def text_encoder(self) -> CLIPTextModel:
        """The trained text tower, frozen."""
        if self._same_words():
            return self._start_tower()
        config, seed = self.config["text"], self.config["seed"]
        return train_text(config, len(self.images), seed, self.tokenizer, self.folder)

    def unet(self) -> UNet2DConditionModel:
        """The trained UNet."""
        tower, start = self.text_encoder(), None
        if self.start:
            start = UNet2DConditionModel.from_pretrained(self.start / "unet").float()
            if not self._same_words():
                tokenizers = (self._start_tokenizer(), self.tokenizer)
                captions = common_captions(tokenizers, self.config["seed"])
                read_new_states(start, (self._start_tower(), tower), tokenizers, captions)
        return train_unet(
            self.config, self.images, self.vae(), tower, self.tokenizer, self.folder, start
        )

    def _start_tokenizer(self) -> CLIPTokenizer:
        return CLIPTokenizer.from_pretrained(self.start / "tokenizer")  # type: ignore[operator]

    def _start_tower(self) -> CLIPTextModel:
        tower = CLIPTextModel.from_pretrained(self.start / "text_encoder")  # type: ignore[operator]
        return tower.float().requires_grad_(False).eval()

    def _same_words(self) -> bool:
        known = self.start and self._start_tokenizer().get_vocab()
        return bool(known == self.tokenizer.get_vocab())

    def run(self, stage: str, out: Path) -> None:
        """Runs one stage; `out` is the folder of the weights."""
        if stage == "vae":
            self.vae()
        elif stage == "clip":
            self.clip()
        elif stage == "text":
            self.text_encoder()
        elif stage == "unet":
            self.unet()
        else:
            parts = self.unet(), self.vae(), self.text_encoder(), self.tokenizer
            export_pipeline(out / "pipeline", *parts)
            if self.config["clip"]["steps"]:
                export_clip(out / "clip", self.clip(), self.tokenizer)

    def take_as_is(self) -> None:
        """Ends each stage where its checkpoint is, so that an unfinished run can be exported."""
        for stage in ("text", "vae", "clip", "unet"):
            self.config[stage]["steps"] = steps_done(self.folder, stage)


def main() -> None:
    """Parses the command line and runs the stages."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(prog="python -m cones.toybox.recipe", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="checkpoints, logs, pictures")
    parser.add_argument("--stage", choices=STAGES, help="only this one")
    parser.add_argument("--out", type=Path, default=here / "weights", help="the weights' folder")
    parser.add_argument("--config", type=Path, default=here / "recipe.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", type=Path, help="weights to go on from, as --out has them")
    parser.add_argument("--as_is", action="store_true", help="only export what checkpoints hold")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    recipe = Recipe(args.folder, json.loads(args.config.read_text()), args.threads, args.start)
    if args.as_is:
        recipe.take_as_is()
        args.stage = "export"
    for stage in [args.stage] if args.stage else STAGES:
        recipe.run(stage, args.out)


if __name__ == "__main__":
    main()
