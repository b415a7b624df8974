"""Who is compared: a tree of subject folders, and the groups that are drawn together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb
from pathlib import Path

from cones.checks import check_count
from cones.errors import InputError
from cones.files.paths import did_you_mean
from cones.files.writing import shown
from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import SubjectInfo
from cones.search.identity import images_hash
from cones.subjects.folders import class_noun, warn_of_twins
from cones.subjects.listing import natural_key
from cones.subjects.photos import load_photos
from cones.subjects.subject import Subject

MAX_TOKENS = 1000
POOL = 12  # subjects used least that a group is chosen from


@dataclass(frozen=True, eq=False)
class Member:
    """A subject of the comparison.

    Attributes:
        folder: of its photographs.
        subject: these, with its words.
        photos: a hash of their pixels.
    """

    folder: Path
    subject: Subject
    photos: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @cached_property
    def info(self) -> SubjectInfo:
        """What prompts call it."""
        return SubjectInfo(self.subject.token, self.subject.class_noun)


Group = tuple[Member, ...]


def read_tree(folder: Path, backbone: Backbone) -> list[Member]:
    """The subjects of a folder of their folders, in the natural order of these.

    The class is what `class_noun` of `cones.subjects.folders` says. The tokens are the model's
    rare ones in order; a subject has the same in every group, so that what was fitted alone
    serves in all.

    Raises:
        InputError: no such folder, no subject in it, one without photographs, or more subjects than
            tokens.
    """
    if not folder.is_dir():
        meant = did_you_mean(folder) or "; give one that holds a folder per subject"
        raise InputError(f"{shown(folder)}: is no folder{meant}")
    places = sorted(
        (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")),
        key=lambda path: natural_key(path.name),
    )
    if not places:
        raise InputError(
            f"{shown(folder)}: expected a folder for each subject, such as robot-1, found none"
        )
    tokens = backbone.rare_tokens(MAX_TOKENS)
    if len(places) > len(tokens):
        raise InputError(
            f"{shown(folder)}: holds {len(places)} subjects, but {backbone.name} has only "
            f"{len(tokens)} rare tokens; compare fewer at once"
        )
    members = [_member(place, token) for place, token in zip(places, tokens, strict=False)]
    warn_of_twins((member.folder, member.photos) for member in members)
    return members


def _member(folder: Path, token: str) -> Member:
    photos = load_photos(folder)
    subject = Subject(photos.images, class_noun(folder), token)
    return Member(folder, subject, images_hash(photos.images))


def design(members: Sequence[Member], size: int, count: int) -> list[Group]:
    """Groups of some size: fixed, all different, and each subject in equally many.

    Each further group is, of all that are left, one of the subjects used least, of different
    classes and strangers to each other as far as that goes.

    Args:
        members: to choose from.
        size: subjects in a group.
        count: groups; fewer where there are not so many.

    Raises:
        InputError: there are fewer subjects than a group holds, or a number is below 1.
    """
    check_count("blocks", size)
    check_count("groups", count)
    if len(members) < size:
        raise InputError(
            f"blocks: a group of {size} needs {size} subjects, found {len(members)}; add subjects "
            "or leave this block out"
        )
    found: list[tuple[int, ...]] = []

    def cost(group: tuple[int, ...]) -> tuple[int, int, int, tuple[int, ...]]:
        uses = sum(k in other for other in found for k in group)
        alike = size - len({members[k].subject.class_noun for k in group})
        pairs = set(combinations(group, 2))
        met = sum(pair in pairs for other in found for pair in combinations(other, 2))
        return uses, alike, met, group

    while len(found) < min(count, comb(len(members), size)):
        uses = [sum(k in group for group in found) for k in range(len(members))]
        ranked = sorted(range(len(members)), key=uses.__getitem__)
        pool = max(POOL, size + 1)
        while not (left := set(combinations(sorted(ranked[:pool]), size)) - set(found)):
            pool += 1
        found.append(min(left, key=cost))
    return [tuple(members[k] for k in group) for group in found]
