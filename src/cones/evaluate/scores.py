"""What an evaluation finds: scores of pictures, and their place between a floor and a ceiling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from cones.evaluate import metrics
from cones.evaluate.features import Features
from cones.evaluate.protocol import Protocol


@dataclass(frozen=True)
class Scores:
    """How well pictures follow their prompts and resemble the photographs: mean cosines.

    Attributes:
        text_alignment: of each picture with its prompt in plain words.
        image_alignment: of all pairs of a picture and a photograph.
        text_se: standard error of `text_alignment` over the prompts; None with one prompt.
        image_se: that of `image_alignment`.
    """

    text_alignment: float
    image_alignment: float
    text_se: float | None
    image_se: float | None

    def as_dict(self) -> dict[str, float]:
        """The two alignments."""
        return {name: getattr(self, name) for name in ("text_alignment", "image_alignment")}


def score(
    features: Features, pictures: Sequence[Image.Image], texts: Sequence[str], photos: Tensor
) -> Scores:
    """Scores pictures.

    Args:
        features: what to compare them by.
        pictures: n of them.
        texts: the prompt of each in plain words; pictures of one text count as one prompt's.
        photos: features of the subject's photographs, `[m, d]`.
    """
    images = features.images(pictures)
    rows = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    prompts = features.texts(list(rows))[[rows[text] for text in texts]]
    by_text = metrics.group_means(metrics.prompt_similarities(images, prompts), texts)
    by_photo = metrics.group_means(metrics.photo_similarities(images, photos), texts)
    return Scores(
        metrics.text_alignment(images, prompts),
        metrics.image_alignment(images, photos),
        metrics.mean_and_se(by_text)[1],
        metrics.mean_and_se(by_photo)[1],
    )


@dataclass(frozen=True)
class Evaluation:
    """The scores of one subject's neurons, with all that they depend on.

    Attributes:
        scores: of the pictures drawn with the neurons shut.
        floor: of the base model's pictures of the same prompts and seeds.
        ceiling: of fresh renders of the subject; None where its look is not known.
        drift: how far pictures without the token moved, see `metrics.drift`.
        strength: of the shutting.
        density: the neurons' share of the weights.
        nbytes: size of the neuron file.
        protocol: how it was measured.
        prompts: the templates of the prompts.
        seeds: of each prompt's pictures.
        pictures: prompt by prompt, in the order of the seeds.
    """

    scores: Scores
    floor: Scores
    ceiling: Scores | None
    drift: float
    strength: float
    density: float
    nbytes: int
    protocol: Protocol
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    pictures: tuple[Image.Image, ...]

    @property
    def share(self) -> float | None:
        """How far the image alignment has come from the floor to the ceiling, if there is one."""
        if self.ceiling is None:
            return None
        bounds = self.floor.image_alignment, self.ceiling.image_alignment
        return metrics.share(self.scores.image_alignment, *bounds)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the pictures, as plain JSON types."""
        return {
            **self.scores.as_dict(),
            "se": {
                "text_alignment": self.scores.text_se,
                "image_alignment": self.scores.image_se,
            },
            "floor": self.floor.as_dict(),
            "ceiling": self.ceiling.as_dict() if self.ceiling else None,
            "share": self.share,
            "drift": self.drift,
            "strength": self.strength,
            "density": self.density,
            "bytes": self.nbytes,
            "n": len(self.pictures),
            "prompts": list(self.prompts),
            "seeds": list(self.seeds),
            "protocol": self.protocol.as_dict(),
        }
