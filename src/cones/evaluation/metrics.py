"""The metrics, as pure functions of features. Features are unit vectors, float32 `[n, d]`.

Each raises a `ConesError` where there are no values, or one is NaN or infinite.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cones.errors import ConesError

MIN_GAP = 0.01  # between floor and ceiling; of a smaller one no share can be given


def prompt_similarities(images: Tensor, texts: Tensor) -> Tensor:
    """Cosine of each picture with its own text: `[n, d]`, `[n, d]` -> `[n]`."""
    return (images * texts).sum(1)


def photo_similarities(images: Tensor, photos: Tensor) -> Tensor:
    """Mean cosine of each picture with all photographs: `[n, d]`, `[m, d]` -> `[n]`."""
    return images @ photos.mean(0)


def text_alignment(images: Tensor, texts: Tensor) -> float:
    """Mean cosine of each picture with its own prompt, in [-1, 1].

    The prompt is in plain words, without the token, as in DreamBooth and Custom Diffusion: "a photo
    of a robot in the snow".

    Args:
        images: features of the pictures, `[n, d]`.
        texts: features of their prompts, `[n, d]`.
    """
    return _mean("text alignment", prompt_similarities(images, texts))


def image_alignment(images: Tensor, photos: Tensor) -> float:
    """Mean cosine of all pairs of a picture and a photograph of the subject, in [-1, 1].

    Args:
        images: features of the pictures, `[n, d]`.
        photos: features of the photographs, `[m, d]`.
    """
    return _mean("image alignment", photo_similarities(images, photos))


def drift(off: Tensor, on: Tensor) -> float:
    """How far pictures that do not name the subject move, in [0, 2]: 1 - their mean cosine.

    Args:
        off: features of pictures drawn by the base model, `[n, d]`.
        on: features of those of the same prompts and seeds with the neurons shut, `[n, d]`.
    """
    return 1 - _mean("drift", prompt_similarities(off, on))


def presence(similarities: Tensor, wanted: Sequence[int], named: Sequence[int]) -> float:
    """Share of all pairs of a picture and a subject in which the subject's class is seen.

    It is seen where it is among the n likeliest kinds of things, n being how many things the
    picture's prompt names.

    Args:
        similarities: of each picture with each kind, `[n, kinds]`.
        wanted: the kind of each subject.
        named: of each picture, how many things its prompt names.
    """
    _mean("presence", similarities)
    better = [(similarities > similarities[:, kind : kind + 1]).sum(1) for kind in wanted]
    return (torch.stack(better) < torch.tensor(named)).float().mean().item()


def share(value: float, floor: float, ceiling: float) -> float | None:
    """Where a value lies between a floor (0) and a ceiling (1); it may lie outside.

    Args:
        value: of what is measured.
        floor: of the base model.
        ceiling: of fresh renders.

    Returns:
        None where the ceiling is not clearly above the floor.
    """
    gap = ceiling - floor
    return (value - floor) / gap if gap >= MIN_GAP else None


def mean_and_se(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of independent values (subjects, prompts) and its standard error.

    Args:
        values: at least one. A single value has no standard error: None.

    Raises:
        ConesError: there are no values, or one is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ConesError(f"mean: expected finite values, found {list(values)[:4]}; measure again")
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def group_means(values: Tensor, groups: Sequence[object]) -> list[float]:
    """The mean of each group's values, e.g. of each prompt's pictures: `[n]` and n labels."""
    labels = {label: k for k, label in enumerate(dict.fromkeys(groups))}
    index = torch.tensor([labels[label] for label in groups])
    sums = torch.zeros(len(labels)).index_add(0, index, values.cpu().float())
    means: list[float] = (sums / torch.bincount(index)).tolist()
    return means


def _mean(name: str, values: Tensor) -> float:
    """The mean of values that are finite; there is at least one."""
    if not values.numel() or not values.isfinite().all():
        found = "NaN or infinity" if values.numel() else "none"
        raise ConesError(f"{name}: expected finite values of some pictures, found {found}")
    return values.mean().item()
