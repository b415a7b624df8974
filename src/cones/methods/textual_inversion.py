"""Textual Inversion (arXiv 2208.01618): only the token's embedding is trained.

As in the public script the embedding starts as that of the class noun, and there is no prior. The
script's prompts say the token alone; here they say token and noun, "a photo of a sks robot", in
training as in drawing, since that is how every method is asked.
"""

from collections.abc import Sequence
from dataclasses import replace

from cones.methods.gradient import gradient_method
from cones.methods.method import RivalConfig
from cones.methods.trainable import Trainable, embedding_of, trainable_copy
from cones.methods.trained_weights import TunedWeights
from cones.models.backbone import Backbone
from cones.neurons.blocks import Block
from cones.subjects.subject import Subject

DEFAULTS = RivalConfig(steps=500, rate=8e-3, prior_batch=0)


def trainable(backbone: Backbone, subjects: Sequence[Subject], _: RivalConfig) -> Trainable:
    """The embedding of each subject's token, from that of its class noun."""
    with Block(backbone):
        return Trainable(
            embeddings={
                subject.token: trainable_copy(embedding_of(backbone, subject.class_noun))
                for subject in subjects
            }
        )


def combine(artifacts: Sequence[TunedWeights]) -> TunedWeights:
    """Put the embeddings of subjects that were fitted alone together.

    Raises:
        InputError: two of them have the same token.
    """
    return replace(
        artifacts[0],
        subjects=tuple(subject for each in artifacts for subject in each.subjects),
        embeddings={token: row for each in artifacts for token, row in each.embeddings.items()},
        info={"merged": " ".join(each.digest() for each in artifacts)},
    )


METHOD = gradient_method(
    "textual_inversion",
    "Textual Inversion",
    DEFAULTS,
    trainable,
    how="embeddings fitted alone, put together",
    combine=combine,
)
