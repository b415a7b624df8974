"""DreamBooth (arXiv 2208.12242): the whole denoiser is trained, with images of the class as prior.

The token keeps the embedding that it has, as in the public script; with `train_text_encoder` the
whole text encoder is trained too, with the same rate, which there makes it stronger.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cones.methods.gradient import gradient_method
from cones.methods.method import RivalConfig
from cones.methods.trainable import Trainable, trainable_copies
from cones.models.backbone import Backbone
from cones.neurons.blocks import Block
from cones.subjects.subject import Subject


@dataclass(frozen=True, kw_only=True)
class DreamBoothConfig(RivalConfig):
    """How to train.

    Attributes:
        train_text_encoder: whether the text encoder is trained too.
    """

    train_text_encoder: bool = False


DEFAULTS = DreamBoothConfig(steps=400, rate=1e-4)


def trainable(backbone: Backbone, _: Sequence[Subject], config: DreamBoothConfig) -> Trainable:
    """The whole denoiser, and the text encoder if it is asked for."""
    with Block(backbone):
        text = backbone.pipeline.text_encoder.named_parameters()
        return Trainable(
            unet=trainable_copies(dict(backbone.denoiser.named_parameters())),
            text_encoder=trainable_copies(dict(text) if config.train_text_encoder else {}),
        )


METHOD = gradient_method("dreambooth", "DreamBooth", DEFAULTS, trainable)
