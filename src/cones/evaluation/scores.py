"""What an evaluation finds: scores of pictures, and their place between a floor and a ceiling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from cones.evaluation import metrics
from cones.evaluation.dino import DinoFeatures
from cones.evaluation.features import Features
from cones.evaluation.protocol import Protocol
from cones.neurons.phrases import fill, mentions


@dataclass(frozen=True)
class Scores:
    """How well pictures follow their prompts and show the subjects.

    Attributes:
        text_alignment: mean cosine of each picture with its prompt in plain words.
        image_alignment: mean cosine of all pairs of a picture and a photograph of a subject, the
            mean over the subjects.
        presence: share of all pairs of a picture and a subject in which the subject's class is
            seen, see `metrics.presence`.
        text_se: standard error of `text_alignment` over the prompts; None with one prompt.
        image_se: that of `image_alignment`.
        dino_alignment: the image alignment by DINO; None where the protocol has none.
    """

    text_alignment: float
    image_alignment: float
    presence: float
    text_se: float | None
    image_se: float | None
    dino_alignment: float | None = None

    def as_dict(self) -> dict[str, float]:
        """The alignments and the presence."""
        found = ("text_alignment", "image_alignment", "dino_alignment", "presence")
        return {name: getattr(self, name) for name in found if getattr(self, name) is not None}


class Scorer:
    """Scores pictures of one subject or several; their photographs are looked at once.

    Attributes:
        features: the protocol's.
    """

    def __init__(
        self, protocol: Protocol, photos: Sequence[Sequence[Image.Image]], nouns: Sequence[str]
    ) -> None:
        """Open the features.

        Args:
            protocol: how to compare.
            photos: of each subject.
            nouns: the class of each.

        Raises:
            InputError: the features cannot be opened, or the protocol is for other photographs.
        """
        self._scope = protocol.scope()
        for images in photos:
            self._scope.check_pictures(images)
        self.features = protocol.features()
        self._dino = protocol.dino() if protocol.dino else None
        self._photos = _mean_features(self.features, photos)
        self._dino_photos = _mean_features(self._dino, photos) if self._dino else None
        self._kinds = tuple(dict.fromkeys((*protocol.nouns, *nouns)))
        self._wanted = [self._kinds.index(noun) for noun in nouns]
        self._words = self.features.texts([fill("a photo of a {}", kind) for kind in self._kinds])

    def score(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Scores:
        """Score pictures.

        Args:
            pictures: n of them.
            texts: the prompt of each in plain words; pictures of one text count as one prompt's.

        Raises:
            InputError: the protocol is for other pictures.
            ConesError: a score is not finite.
        """
        self._scope.check_pictures(pictures)
        images = self.features.images(pictures)
        rows = {text: k for k, text in enumerate(dict.fromkeys(texts))}
        prompts = self.features.texts(list(rows))[[rows[text] for text in texts]]
        named = [sum(mentions(text, kind) for kind in self._kinds) for text in texts]
        by_text = metrics.group_means(metrics.prompt_similarities(images, prompts), texts)
        by_photo = metrics.group_means(metrics.photo_similarities(images, self._photos), texts)
        return Scores(
            metrics.text_alignment(images, prompts),
            metrics.image_alignment(images, self._photos),
            metrics.presence(images @ self._words.T, self._wanted, named),
            metrics.mean_and_se(by_text)[1],
            metrics.mean_and_se(by_photo)[1],
            self._dino_alignment(pictures),
        )

    def _dino_alignment(self, pictures: Sequence[Image.Image]) -> float | None:
        if self._dino is None or self._dino_photos is None:
            return None
        return metrics.image_alignment(self._dino.images(pictures), self._dino_photos)


@dataclass(frozen=True)
class Measurement:
    """Scores of pictures that were drawn with an artifact.

    Attributes:
        scores: of the pictures of prompts that name the subjects.
        drift: how far pictures without the tokens moved, see `metrics.drift`.
        pictures: prompt by prompt, in the order of the seeds.
    """

    scores: Scores
    drift: float
    pictures: tuple[Image.Image, ...]


@dataclass(frozen=True)
class Evaluation(Measurement):
    """The scores of an artifact, with all that they depend on.

    Attributes:
        floor: of the base model's pictures of the same prompts and seeds.
        ceiling: of fresh renders of the subjects; None where a look is not known.
        strength: of the shutting; None for what is no neurons.
        density: the neurons' share of the weights; None for what is no neurons.
        nbytes: size of the artifact's file.
        protocol: how it was measured.
        prompts: the templates of the prompts.
        seeds: of each prompt's pictures.
    """

    floor: Scores
    ceiling: Scores | None
    strength: float | None
    density: float | None
    nbytes: int
    protocol: Protocol
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def share(self) -> float | None:
        """Where the image alignment lies between the floor and the ceiling, if there is one."""
        return share(self.scores, self.floor, self.ceiling)

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


def share(scores: Scores, floor: Scores, ceiling: Scores | None) -> float | None:
    """Where the image alignment lies between the floor's and the ceiling's, see `metrics.share`.

    Args:
        scores: of the artifact's pictures.
        floor: of the base model's.
        ceiling: of fresh renders; None gives None.
    """
    if ceiling is None:
        return None
    return metrics.share(scores.image_alignment, floor.image_alignment, ceiling.image_alignment)


def _mean_features(
    features: Features | DinoFeatures, photos: Sequence[Sequence[Image.Image]]
) -> torch.Tensor:
    """The mean features of each subject's photographs, `[subjects, d]`.

    A picture's mean cosine with these is the mean over the subjects, each counting alike however
    many photographs it has.
    """
    return torch.stack([features.images(images).mean(0) for images in photos])
