"""The evaluation of one subject's concept neurons."""

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from PIL import Image
from torch import Tensor

from cones.backbone import Backbone
from cones.errors import InputError
from cones.evaluate import metrics
from cones.evaluate.ceiling import fresh_renders, read_subject
from cones.evaluate.protocol import (
    GENERAL_PROMPTS,
    PROMPTS,
    TOYBOX_1,
    Protocol,
    check_prompts,
    filled,
)
from cones.evaluate.scores import Evaluation, Scores, score
from cones.generate import generate
from cones.neuronfile import to_bytes
from cones.neurons import ConceptNeurons, SubjectInfo
from cones.photos import load_photos
from cones.search import OnStep
from cones.shutting import shut
from cones.toybox.world import Look

log = logging.getLogger("cones")

Images = Path | str | Sequence[Image.Image]
SEEDS = range(4)


class Trial:
    """What the neurons of one subject are tried on; the base model's side is drawn once.

    Attributes:
        templates: of the prompts that name the subject.
        seeds: of each prompt's pictures.
        named: these prompts with the subject in them.
        plain: the same in plain words, without the token.
        general: prompts that do not name the subject.
        features: the protocol's.
        photos: features of the photographs, `[m, d]`.
        look: class and look of a rendered subject; None where they are not known.
    """

    def __init__(
        self,
        backbone: Backbone,
        subject: SubjectInfo,
        images: Images,
        prompts: Sequence[str] = PROMPTS,
        seeds: Iterable[int] = SEEDS,
        protocol: Protocol = TOYBOX_1,
        on_step: OnStep | None = None,
    ) -> None:
        """Reads the photographs; nothing is drawn yet. For arguments and errors see `evaluate`."""
        check_prompts(prompts)
        self.templates, self.seeds = tuple(prompts), tuple(seeds)
        if not self.seeds:
            raise InputError("seeds: expected at least one, found none")
        noun = subject.class_noun
        self.named = [filled(prompt, f"{subject.token} {noun}", noun) for prompt in prompts]
        self.plain = [filled(prompt, noun, noun) for prompt in prompts]
        self.general = [filled(prompt, noun, noun) for prompt in GENERAL_PROMPTS]
        for prompt in self.named:
            backbone.check_prompt(prompt, [subject.token])
        self.backbone, self.protocol, self.on_step = backbone, protocol, on_step
        self.features = protocol.features()
        photos, self.look = _photographs(images)
        if self.look and self.look[0] != noun:
            log.warning(
                "photographs: show a %s, the neurons are of a %s; there is no ceiling",
                self.look[0], noun,
            )  # fmt: skip
            self.look = None
        self.photos = self.features.images(photos)
        self._done = 0

    def evaluate(self, neurons: ConceptNeurons, strength: float | None = None) -> Evaluation:
        """Draws with the neurons shut, and scores the pictures."""
        strength = neurons.strength if strength is None else strength
        with shut(self.backbone, neurons, strength):
            pictures, general = self.draw(self.named), self.draw(self.general)
        return Evaluation(
            scores=self.score(pictures),
            floor=self.floor,
            ceiling=self.ceiling,
            drift=metrics.drift(self._general_off, self.features.images(general)),
            strength=strength,
            density=neurons.density,
            nbytes=len(to_bytes(neurons)),
            protocol=self.protocol,
            prompts=self.templates,
            seeds=self.seeds,
            pictures=tuple(pictures),
        )

    def score(self, pictures: Sequence[Image.Image]) -> Scores:
        """Scores pictures of `plain`, prompt by prompt in the order of the seeds."""
        texts = [text for text in self.plain for _ in self.seeds]
        return score(self.features, pictures, texts, self.photos)

    @cached_property
    def base_pictures(self) -> list[Image.Image]:
        """The base model's pictures of the prompts that name the subject."""
        return self.draw(self.named)

    @cached_property
    def floor(self) -> Scores:
        """The scores of the base model."""
        return self.score(self.base_pictures)

    @cached_property
    def renders(self) -> list[Image.Image] | None:
        """Fresh renders of the subject, as the prompts ask for it."""
        return fresh_renders(*self.look, self.plain, self.seeds) if self.look else None

    @cached_property
    def ceiling(self) -> Scores | None:
        """The scores of fresh renders; None where the subject's look is not known."""
        return self.score(self.renders) if self.renders else None

    @cached_property
    def _general_off(self) -> Tensor:
        return self.features.images(self.draw(self.general))

    def draw(self, prompts: Sequence[str]) -> list[Image.Image]:
        """Draws every prompt with every seed by the protocol, with the model as it is now."""
        pictures = generate(
            self.backbone,
            prompts,
            self.seeds,
            steps=self.protocol.steps,
            guidance=self.protocol.guidance,
            on_picture=self._count,
        )
        return [picture.image for picture in pictures]

    def _count(self, *_: object) -> None:
        self._done += 1
        if self.on_step is not None:
            total = 2 * (len(self.named) + len(self.general)) * len(self.seeds)
            self.on_step("draw", self._done, total, {})


def _photographs(images: Images) -> tuple[Sequence[Image.Image], tuple[str, Look] | None]:
    """The photographs, and class and look of the subject where its folder tells them."""
    if isinstance(images, str | Path):
        return load_photos(Path(images)).images, read_subject(Path(images))
    if not images:
        raise InputError("images: expected at least one photograph, found none")
    return images, None


def evaluate(
    backbone: Backbone,
    neurons: ConceptNeurons,
    images: Images,
    prompts: Sequence[str] = PROMPTS,
    seeds: Iterable[int] = SEEDS,
    *,
    strength: float | None = None,
    protocol: Protocol = TOYBOX_1,
    on_step: OnStep | None = None,
) -> Evaluation:
    """Measures the neurons of one subject.

    Args:
        backbone: the base model.
        neurons: of exactly one subject, whose token and class noun fill the prompts.
        images: the subject's photographs, or their folder. A folder whose `metadata.jsonl` tells a
            look of the toybox gives a ceiling too.
        prompts: templates, `{}` for the subject and `{other}` for a second thing.
        seeds: of the pictures of each prompt.
        strength: of the shutting; None for what the neurons recommend.
        protocol: how pictures are drawn and compared.
        on_step: called with ("draw", pictures drawn, of how many, {}).

    Raises:
        InputError: neurons of no subject or of several, no photograph, an unusable prompt, or
            features that cannot be opened.
        BaseModelError: the neurons are of a model of another layout.
    """
    if len(neurons.subjects) != 1:
        found = ", ".join(subject.token for subject in neurons.subjects) or "none"
        raise InputError(
            f"neurons: expected those of one subject, found {found}; comparing several comes with "
            "`cones compare`"
        )
    trial = Trial(backbone, neurons.subjects[0], images, prompts, seeds, protocol, on_step)
    return trial.evaluate(neurons, strength)
