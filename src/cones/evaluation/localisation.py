"""How well a word's attention map separates a subject from the rest of its picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cones.checks import MAX_IMAGES, MAX_SEED, check_count
from cones.errors import InputError
from cones.evaluation.metrics import mean_and_se
from cones.evaluation.reference import KnownLook, Mask, Reference
from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.phrases import fill
from cones.sampling.attention import TIMESTEPS, AttentionMaps, photo_maps
from cones.subjects.folders import METADATA

PROMPT = "a photo of a {}"
NUM = 32


def auroc(scores: npt.ArrayLike, mask: Mask) -> float:
    """The probability that a place in the mask scores above one outside; a tie counts half.

    Args:
        scores: of each place, any shape.
        mask: bool, of the same shape.

    Raises:
        InputError: the shapes differ, a score is not finite, or nothing is in or outside the mask.
    """
    inside, counts = _levels(scores, mask)
    outside = counts - inside
    below = np.cumsum(outside) - outside
    return float(np.sum(inside * (below + outside / 2)) / (inside.sum() * outside.sum()))


def best_iou(scores: npt.ArrayLike, mask: Mask) -> float:
    """Intersection over union of the mask and the places above a threshold, the best of all.

    Arguments and errors are those of `auroc`.
    """
    inside, counts = _levels(scores, mask)
    hits, chosen = (np.cumsum(each[::-1]) for each in (inside, counts))
    return float(np.max(hits / (chosen + inside.sum() - hits)))


def _levels(scores: npt.ArrayLike, mask: Mask) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """For each distinct score, from the lowest: how many places in the mask have it, how many all.

    Both int64 `[distinct scores]`.
    """
    values = np.asarray(scores)
    if values.shape != mask.shape:
        raise InputError(
            f"mask: expected the shape {list(values.shape)} of the map, found {list(mask.shape)}"
        )
    if not np.isfinite(values).all():
        raise InputError(
            "map: expected finite numbers, found NaN or infinity; the model or its neurons are "
            "damaged"
        )
    if mask.all() or not mask.any():
        found = "all" if mask.any() else "none"
        raise InputError(f"mask: expected places inside and outside, found {found} inside")
    _, level, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return np.bincount(level[mask.ravel()], minlength=len(counts)), counts


@dataclass(frozen=True)
class Change:
    """A figure before and after shutting: means over pictures with their standard errors.

    Attributes:
        before: with nothing shut.
        after: with the neurons shut.
        gain: of each picture, after - before. Of one picture no standard error is known: None.
    """

    before: tuple[float, float | None]
    after: tuple[float, float | None]
    gain: tuple[float, float | None]

    @classmethod
    def of(cls, before: Sequence[float], after: Sequence[float]) -> "Change":
        """From the figures of the same pictures."""
        gains = [b - a for a, b in zip(before, after, strict=True)]
        return cls(mean_and_se(before), mean_and_se(after), mean_and_se(gains))

    def as_dict(self) -> dict[str, float | None]:
        """The means as "before", ..., the standard errors as "before_se", ..."""
        means = {name: mean for name, (mean, _) in vars(self).items()}
        return means | {f"{name}_se": se for name, (_, se) in vars(self).items()}


@dataclass(frozen=True)
class Localisation:
    """How well the map of one word separates the subject's pixels.

    Attributes:
        word: the token or the class noun.
        auroc: see `auroc`; 0.5 is chance.
        iou: see `best_iou`.
    """

    word: str
    auroc: Change
    iou: Change

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON types."""
        return {"word": self.word, "auroc": self.auroc.as_dict(), "iou": self.iou.as_dict()}


def localise(
    backbone: Backbone,
    neurons: ConceptNeurons,
    folder: str | Path,
    reference: Reference,
    num: int = NUM,
    strength: float | None = None,
    timesteps: Sequence[int] = TIMESTEPS,
    seed: int = 0,
    resolution: int | None = None,
) -> list[Localisation]:
    """Measure the maps of the token and the class noun on noised renders, whose masks are known.

    The renders are fresh: none of them is among the subject's photographs.

    Args:
        backbone: the base model.
        neurons: of exactly one subject.
        folder: the subject's photographs, with what tells its look.
        reference: reads the look and draws the renders.
        num: how many renders.
        strength: of the shutting; None for what the neurons recommend.
        timesteps: at which noise is added; the maps are means over them.
        seed: of the renders and of the noise.
        resolution: side of the maps; None for the finest. They are scaled up to the masks' size.

    Returns:
        Of the token, then of the class noun.

    Raises:
        InputError: neurons of no subject or of several, a folder that tells no look or that of
            another class, or `photo_maps` refuses.
        BaseModelError: the neurons are of a model of another layout.
    """
    subject = _only_subject(neurons)
    num, seed = check_count("num", num, 1, MAX_IMAGES), check_count("seed", seed, 0, MAX_SEED)
    renders = reference.draw_masked(_look(Path(folder), subject, reference), num, seed)
    images, masks = [image for image, _ in renders], [mask for _, mask in renders]
    prompt = fill(PROMPT, subject.phrase)
    before, after = (
        photo_maps(backbone, images, prompt, shut, power, timesteps, seed, resolution)
        for shut, power in ((None, None), (neurons, strength))
    )
    token, noun = (len(backbone.token_ids(w)) for w in (subject.token, subject.class_noun))
    positions = {  # the prompt ends with both
        subject.token: slice(-noun - token, -noun),
        subject.class_noun: slice(-noun, None),
    }
    return [_localisation(word, where, before, after, masks) for word, where in positions.items()]


def _only_subject(neurons: ConceptNeurons) -> SubjectInfo:
    if len(neurons.subjects) != 1:
        found = ", ".join(subject.token for subject in neurons.subjects) or "none"
        raise InputError(f"neurons: expected those of one subject to localise, found {found}")
    return neurons.subjects[0]


def _look(folder: Path, subject: SubjectInfo, reference: Reference) -> KnownLook:
    found = reference.read(folder)
    if found is None:
        raise InputError(
            f"{folder / METADATA}: expected the look of a rendered subject, found none; name a "
            f"folder that {reference.source} has written"
        )
    if found[0] != subject.class_noun:
        raise InputError(
            f"{folder}: shows a {found[0]}, the neurons are of a {subject.class_noun}; name the "
            "folder of their subject"
        )
    return found


def _localisation(
    word: str,
    where: slice,
    before: Sequence[AttentionMaps],
    after: Sequence[AttentionMaps],
    masks: Sequence[Mask],
) -> Localisation:
    changes = []
    for figure in (auroc, best_iou):
        figures = [
            [
                figure(_scaled(each.maps[where].mean(0), mask.shape), mask)
                for each, mask in zip(maps, masks, strict=True)
            ]
            for maps in (before, after)
        ]
        changes.append(Change.of(*figures))
    return Localisation(word, *changes)


def _scaled(heat: Tensor, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """A map `[side, side]` at the size of a mask."""
    scaled = interpolate(heat[None, None], size=shape, mode="bilinear", align_corners=False)
    return torch.as_tensor(scaled[0, 0]).numpy()
