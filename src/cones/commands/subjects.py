"""What the commands on one subject or several share: their options, matched in order."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cones.commands.common import read_photos, say

if TYPE_CHECKING:
    from cones.backbone import Backbone
    from cones.neurons import ConceptNeurons
    from cones.photos import Photos
    from cones.subject import Subject


def require_one_of_each(found: Mapping[str, int]) -> None:
    """Refuses options of several subjects that cannot be matched in order: option -> how many."""
    if len({*found.values()}) > 1:
        told = ", ".join(f"{count} {option}" for option, count in found.items())
        raise typer.BadParameter(f"{told}: give one of each for each subject, in the same order")


def read_subjects(
    folders: Sequence[Path], nouns: Sequence[str], tokens: Sequence[str]
) -> "tuple[list[Subject], list[Photos]]":
    """The subjects, and the photographs of each, read from its folder."""
    from cones.subject import Subject

    photos = [read_photos(folder) for folder in folders]
    subjects = [
        Subject(each.images, noun, token, each.notes)
        for each, noun, token in zip(photos, nouns, tokens, strict=True)
    ]
    return subjects, photos


def subjects_of(
    sets: "Sequence[ConceptNeurons]", folders: Sequence[Path]
) -> "tuple[list[Subject], list[Photos]]":
    """As `read_subjects`, for the subjects of neuron files in their order, one folder for each."""
    found = [each for neurons in sets for each in neurons.subjects]
    if len(folders) != len(found):
        phrases = ", ".join(f"{each.token} {each.class_noun}" for each in found)
        raise typer.BadParameter(
            f"expected an --images for each of {phrases or 'no subject'}, in this order, found "
            f"{len(folders)}"
        )
    return read_subjects(
        folders, [each.class_noun for each in found], [each.token for each in found]
    )


def say_what_is_small(photos: "Sequence[Photos]", backbone: "Backbone") -> None:
    """Says which photographs are smaller than the model's pictures."""
    for each in photos:
        for note in each.enlarged(backbone.resolution):
            say(note)
