"""Subjects whose look is known: they can be drawn afresh, and where they are is known too."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

log = logging.getLogger("cones")

Mask = npt.NDArray[np.bool_]
KnownLook = tuple[str, Any]  # the class noun of a subject, and its look as its renderer has it


@dataclass(frozen=True)
class Reference:
    """Draws subjects as they truly look; what an evaluation holds the model's pictures against.

    Attributes:
        source: what writes the folders that `read` knows, for messages.
        max_subjects: how many one picture has room for.
        read: class noun and look of the subject whose photographs a folder holds; None where the
            folder does not tell them. It raises an InputError where they cannot be drawn.
        draw: (subjects, prompts in plain words, seeds) -> pictures of all subjects together as each
            prompt asks, all of the first prompt in the order of the seeds, then those of the next.
        draw_masked: (subject, number of pictures, seed) -> pictures of it alone, each with its
            mask: bool `[height, width]`, the pixels that show it.
    """

    source: str
    max_subjects: int
    read: Callable[[Path], KnownLook | None]
    draw: Callable[[Sequence[KnownLook], Sequence[str], Sequence[int]], list[Image.Image]]
    draw_masked: Callable[[KnownLook, int, int], list[tuple[Image.Image, Mask]]]


def known_looks(
    reference: Reference | None, folders: Sequence[Path | None], nouns: Sequence[str]
) -> list[KnownLook] | None:
    """The looks of all subjects; None where one is not known or one picture cannot hold them all.

    Args:
        reference: reads them; None where there is none.
        folders: of each subject's photographs; None where they are in no folder.
        nouns: the class noun of each, which its look must be of.

    Raises:
        InputError: a folder tells a look that cannot be drawn.
    """
    if reference is None:
        return None
    looks = [
        folder and _known_look(reference, folder, noun)
        for folder, noun in zip(folders, nouns, strict=True)
    ]
    found = [look for look in looks if look]
    return found if len(found) == len(looks) <= reference.max_subjects else None


def _known_look(reference: Reference, folder: Path, noun: str) -> KnownLook | None:
    look = reference.read(folder)
    if look and look[0] != noun:
        log.warning(
            "photographs: show a %s, the neurons are of a %s; there is no ceiling", look[0], noun
        )
        return None
    return look
