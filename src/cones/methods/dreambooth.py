"""DreamBooth (arXiv 2208.12242): the whole denoiser is trained, with images of the class as prior.

The token keeps the embedding that it has, as in the public script; with `train_text_encoder` the
whole text encoder is trained too, with the same rate, which there makes it stronger.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cones.methods.method import JOINTLY, Method, RivalConfig
from cones.methods.trainable import Trainable, trainable_copies
from cones.methods.trained_weights import TunedWeights
from cones.methods.training import Stops, Training
from cones.models.backbone import Backbone
from cones.neurons.blocks import Block
from cones.progress import OnProgress
from cones.search.prior import ClassImages
from cones.subjects.subject import Subject


@dataclass(frozen=True, kw_only=True)
class DreamBoothConfig(RivalConfig):
    """How to train.

    Attributes:
        train_text_encoder: whether the text encoder is trained too.
    """

    train_text_encoder: bool = False


DEFAULTS = DreamBoothConfig(steps=400, rate=1e-4)


def fit(
    backbone: Backbone,
    subjects: Subject | Sequence[Subject],
    config: DreamBoothConfig = DEFAULTS,
    class_images: ClassImages | None = None,
    on_progress: OnProgress | None = None,
    stops: Stops | None = None,
) -> TunedWeights:
    """Train the denoiser on all subjects; arguments and errors as for `Training`."""
    training = Training(backbone, subjects, config, class_images, on_progress, stops)
    text = backbone.pipeline.text_encoder.named_parameters() if config.train_text_encoder else ()
    with Block(backbone):
        trainable = Trainable(
            unet=trainable_copies(dict(backbone.denoiser.named_parameters())),
            text_encoder=trainable_copies(dict(text)),
        )
    return training.fit(METHOD.name, trainable)


METHOD = Method("dreambooth", "DreamBooth", JOINTLY, DEFAULTS, fit)
