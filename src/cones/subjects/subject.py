"""A subject: its photographs and what prompts call it; and seeded batches of training examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cones.checks import check_kind
from cones.errors import InputError
from cones.files.paths import local_path
from cones.models.backbone import Backbone
from cones.models.families import Conditioning
from cones.neurons.concept_neurons import SubjectInfo
from cones.neurons.phrases import fill
from cones.subjects.folders import noun_fault
from cones.subjects.photos import load_photos, pixels_digest, rgb_images

MAX_SUBJECTS = 4  # in one picture, that are known to work: as many as in the paper
# Several wordings, so that the neurons do not cling to one sentence.
TEMPLATES = ("a photo of a {}", "a {}", "a picture of a {}", "an image of a {}", "the {}")


@dataclass(frozen=True)
class Subject:
    """What concept neurons are to be found for.

    Attributes:
        images: photographs of any size, three to six of them in different surroundings: RGB. What
            it is made from may have any mode, or be arrays; see `cones.subjects.photos.rgb_images`.
        class_noun: what kind of thing it is: "robot".
        token: the rare word that is to stand for it, the paper's V*.
        notes: what the user should know about the photographs, one line each.
    """

    images: tuple[Image.Image, ...]
    class_noun: str
    token: str = "sks"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images = rgb_images(self.images, "a subject's photographs")
        object.__setattr__(self, "images", images)
        if not images:
            raise InputError("a subject needs at least one photograph, found none")
        check_kind("token", self.token, str, "a text")
        check_kind("class noun", self.class_noun, str, "a text")
        if self.token != self.token.strip() or not self.token or not self.token.isprintable():
            raise InputError(f"token {self.token!r}: expected a word, such as 'sks'")
        if fault := noun_fault(self.class_noun, self.token):
            raise InputError(
                f"class noun: expected what the subject is and nothing else, such as 'robot', "
                f"found {fault}; name it so"
            )

    @classmethod
    def from_folder(
        cls, folder: str | Path | Sequence[Path], class_noun: str, token: str = "sks"
    ) -> "Subject":
        """Reads photographs.

        Args:
            folder: in which they lie directly, or their files; see `load_photos`.
            class_noun: what kind of thing the subject is: "robot".
            token: the rare word that is to stand for it.

        Raises:
            InputError: there are none, one cannot be used, or a word cannot stand in prompts.
        """
        photos = load_photos(local_path(folder) if isinstance(folder, str | Path) else folder)
        return cls(photos.images, class_noun, token, photos.notes)

    @property
    def info(self) -> SubjectInfo:
        """What neurons keep of it: its words, without the photographs."""
        return SubjectInfo(self.token, self.class_noun, self.prompts()[0])

    @property
    def phrase(self) -> str:
        """How prompts name it: "sks robot"."""
        return f"{self.token} {self.class_noun}"

    def prompts(self) -> list[str]:
        """The prompts of the concept-implanting loss: "a photo of a sks robot" and the like."""
        return [fill(template, self.phrase) for template in TEMPLATES]


def shared_photographs(
    subjects: Sequence[Subject], class_images: Mapping[str, Sequence[Image.Image]] | None = None
) -> list[str]:
    """What to say of photographs that stand for two things, a line each.

    Args:
        subjects: what is to be implanted. A few photographs may well show two of them.
        class_images: images of classes, by their nouns.
    """
    remarks = []
    digests = [_digests(subject.images) for subject in subjects]
    for one, two in combinations(range(len(subjects)), 2):
        shared = len(digests[one] & digests[two])
        if 2 * shared > min(len(digests[one]), len(digests[two])):
            remarks.append(
                f"photographs: {shared} are given for {subjects[one].phrase} and for "
                f"{subjects[two].phrase} too; give each its own"
            )
    for noun, images in (class_images or {}).items():
        given = _digests(images)
        for subject, own in zip(subjects, digests, strict=True):
            if shared := len(given & own):
                remarks.append(
                    f"class images of {noun!r}: {shared} are photographs of {subject.phrase}, "
                    "whose look the class is not to take; give others, or let the model draw them"
                )
    return remarks


def _digests(images: Sequence[Image.Image]) -> set[str]:
    return {pixels_digest(image) for image in images}


def many_subjects_warning(count: int) -> str | None:
    """What to say of more subjects at once than the method is known to draw together."""
    if count <= MAX_SUBJECTS:
        return None
    return (
        f"{count} subjects at once: up to {MAX_SUBJECTS} are known to work; some may be lost or "
        "mixed"
    )


@dataclass(frozen=True)
class Batch:
    """Noised latents with their prompts' states: what one loss is computed on.

    Attributes:
        latents: x_0, float32 `[n, channels, height, width]`.
        noise: eps, like `latents`.
        timesteps: t, int64 `[n]`.
        states: the n encoded prompts.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    states: Conditioning

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.latents)

    def __getitem__(self, rows: slice) -> "Batch":
        """Some of the samples."""
        return Batch(self.latents[rows], self.noise[rows], self.timesteps[rows], self.states[rows])


@dataclass(frozen=True)
class Examples:
    """Latents with the prompts that may go with them, encoded once.

    Attributes:
        means: of the latents, float32 `[n, channels, height, width]`.
        deviations: of the latents, like `means`.
        states: m encoded prompts.
        pairs: for each of the n latents the rows of `states` that name it.
    """

    means: Tensor
    deviations: Tensor
    states: Conditioning
    pairs: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls, backbone: Backbone, images: Sequence[Image.Image], prompts: Sequence[Sequence[str]]
    ) -> "Examples":
        """Encodes images and the prompts that may go with each.

        Args:
            backbone: encodes them.
            images: RGB, of any size.
            prompts: for each image those that name it.
        """
        means, deviations = backbone.encode_images(images)
        texts = list(dict.fromkeys(text for some in prompts for text in some))
        row = {text: k for k, text in enumerate(texts)}
        pairs = tuple(tuple(row[text] for text in some) for some in prompts)
        return cls(means, deviations, backbone.encode_prompts(texts), pairs)

    @classmethod
    def of_subject(cls, backbone: Backbone, subject: Subject) -> "Examples":
        """Every photograph with every prompt of the subject."""
        return cls.of(backbone, subject.images, [subject.prompts()] * len(subject.images))

    def draw(self, count: int, timesteps: int, generator: torch.Generator) -> Batch:
        """Draws a batch.

        Timesteps are stratified: one from each of `count` equal parts of the schedule, so that
        batches differ less. Latents come in a random order, each equally often within one.

        Args:
            count: samples.
            timesteps: length of the noise schedule.
            generator: on the CPU, so that batches do not depend on the device.
        """
        device = self.means.device
        order = torch.randperm(len(self.means), generator=generator)
        chosen = order.repeat(-(-count // len(order)))[:count]
        strata = torch.randperm(count, generator=generator)
        shares = (strata + torch.rand(count, generator=generator)) / count
        shape = (count, *self.means.shape[1:])
        spread, noise = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
        pick = torch.rand(count, generator=generator).tolist()
        rows = [
            self.pairs[k][int(p * len(self.pairs[k]))]
            for k, p in zip(chosen.tolist(), pick, strict=True)
        ]
        return Batch(
            self.means[chosen] + self.deviations[chosen] * spread,
            noise,
            (shares * timesteps).long().clamp_(max=timesteps - 1).to(device),
            self.states[rows],
        )


def joined(batches: Sequence[Batch]) -> Batch:
    """Several batches as one."""
    latents, noise, timesteps = (
        torch.cat([getattr(batch, name) for batch in batches])
        for name in ("latents", "noise", "timesteps")
    )
    return Batch(latents, noise, timesteps, Conditioning.cat([batch.states for batch in batches]))


def joined_examples(parts: Sequence[Examples]) -> Examples:
    """Several sets of examples as one."""
    pairs: list[tuple[int, ...]] = []
    before = 0
    for part in parts:
        pairs += [tuple(row + before for row in rows) for rows in part.pairs]
        before += len(part.states)
    means, deviations = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("means", "deviations")
    )
    states = Conditioning.cat([part.states for part in parts])
    return Examples(means, deviations, states, tuple(pairs))
