"""What the commands on one subject or several share: their options, matched in order."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cones.cli.console import log
from cones.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from cones.models.backbone import Backbone
    from cones.neurons.concept_neurons import ConceptNeurons
    from cones.subjects.listing import Role, Source
    from cones.subjects.photos import Photos
    from cones.subjects.subject import Subject


def require_one_of_each(found: Mapping[str, int]) -> None:
    """Refuses options of several subjects that cannot be matched in order: option -> how many."""
    if len({*found.values()}) > 1:
        told = ", ".join(f"{count} {option}" for option, count in found.items())
        raise typer.BadParameter(f"{told}: give one of each for each subject, in the same order")


def sources(images: Sequence[Path]) -> "list[Source]":
    """What `--images` names for each subject: a folder, a pattern, or files of one folder in a row.

    A shell makes such files of `photos/*.png`.
    """
    found: list[Path | list[Path]] = []
    for path in images:
        before = found[-1] if found else None
        if not path.is_file():
            found.append(path)
        elif isinstance(before, list) and before[0].parent == path.parent:
            before.append(path)
        else:
            found.append([path])
    return [*found]


def one_source(images: Sequence[Path]) -> "Source":
    """What `--images` names, where it is of one subject."""
    found = sources(images)
    if len(found) != 1:
        raise typer.BadParameter(f"expected the --images of one subject, found {len(found)}")
    return found[0]


def read_photos(source: "Source", role: "Role" = "subject") -> "Photos":
    """Reads photographs, and says what was skipped and what else there is to know about them."""
    from cones.subjects.photos import load_photos

    photos = load_photos(source, role=role)
    for note in photos.notes:
        log.info(note)
    return photos


def read_class_images(
    subjects: "Sequence[Subject]", folders: Sequence[Path]
) -> "dict[str, Sequence[Image]]":
    """The images of each class, by its noun; empty for the model to draw them.

    Args:
        subjects: whose classes they are.
        folders: of the images of each subject's class, or none.

    Raises:
        InputError: some of them are the subjects' photographs.
    """
    if len(folders) not in (0, len(subjects)):
        raise typer.BadParameter(
            f"--class_data_dir: expected one for each subject, {len(subjects)}, found "
            f"{len(folders)}"
        )
    found: dict[str, Sequence[Image]] = {
        subject.class_noun: read_photos(folder, "class").images
        for subject, folder in zip(subjects, folders, strict=False)
    }
    refuse_shared(subjects, found)
    return found


def read_subjects(
    images: "Sequence[Source]", nouns: Sequence[str], tokens: Sequence[str]
) -> "tuple[list[Subject], list[Photos]]":
    """The subjects, and the photographs of each.

    Args:
        images: as `sources` gives them.
        nouns: of the classes.
        tokens: of the subjects.
    """
    from cones.subjects.subject import Subject

    photos = [read_photos(source) for source in images]
    subjects = [
        Subject(each.images, noun, token, each.notes)
        for each, noun, token in zip(photos, nouns, tokens, strict=True)
    ]
    refuse_shared(subjects)
    return subjects, photos


def refuse_shared(
    subjects: "Sequence[Subject]", class_images: "Mapping[str, Sequence[Image]] | None" = None
) -> None:
    """Refuses photographs that stand for two things, before a model is opened.

    Raises:
        InputError: some do.
    """
    from cones.subjects.subject import shared_photographs

    for remark in shared_photographs(subjects, class_images):
        raise InputError(remark)


def subjects_of(
    sets: "Sequence[ConceptNeurons]", folders: Sequence[Path]
) -> "tuple[list[Subject], list[Photos]]":
    """As `read_subjects`, for the subjects of neuron files in their order, one folder for each."""
    found = [each for neurons in sets for each in neurons.subjects]
    images = sources(folders)
    if len(images) != len(found):
        phrases = ", ".join(each.phrase for each in found)
        raise typer.BadParameter(
            f"expected an --images for each of {phrases or 'no subject'}, in this order, found "
            f"{len(images)}"
        )
    return read_subjects(
        images, [each.class_noun for each in found], [each.token for each in found]
    )


def say_what_is_small(photos: "Sequence[Photos]", backbone: "Backbone") -> None:
    """Says which photographs are smaller than the model's pictures."""
    for each in photos:
        for note in each.enlarged(backbone.resolution):
            log.info(note)
