"""The evaluation of what shows one subject or several: neurons, or another method's artifact."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

from PIL import Image
from torch import Tensor

from cones.checks import check_seeds
from cones.errors import InputError
from cones.evaluation import metrics
from cones.evaluation.protocol import (
    DEFAULT,
    GENERAL_PROMPTS,
    PROMPTS,
    Protocol,
    as_protocol,
    check_prompts,
    fill_prompt,
)
from cones.evaluation.reference import known_looks
from cones.evaluation.scores import Evaluation, Measurement, Scorer, Scores
from cones.methods.artifact import Cones
from cones.models.backbone import Backbone, check_backbone
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.phrases import join_phrases
from cones.neurons.shutting import shut
from cones.neurons.tokens import check_distinct_tokens
from cones.neurons.union import Neurons, union
from cones.progress import OnProgress
from cones.sampling.artifact import Artifact
from cones.sampling.generate import generate
from cones.subjects.photos import load_photos, rgb_images

Images = Path | str | Sequence[Image.Image]
SEEDS = range(4)


class Evaluator:
    """Measures artifacts of the same subjects; the base model's pictures are drawn once.

    Attributes:
        templates: of the prompts that name the subjects.
        seeds: of each prompt's pictures.
        named: these prompts with the subjects in them.
        plain: the same in plain words, without the tokens.
        general: prompts that do not name the subjects.
        scorer: compares with the photographs by the protocol's features.
        looks: class and look of each subject; None where one is not known.
    """

    def __init__(
        self,
        backbone: Backbone,
        subjects: Sequence[SubjectInfo],
        images: Sequence[Images],
        prompts: Sequence[str] = PROMPTS,
        seeds: Iterable[int] = SEEDS,
        protocol: Protocol | str = DEFAULT,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Read the photographs; nothing is drawn yet.

        Args:
            backbone: the base model.
            subjects: in the order in which prompts name them.
            images: the photographs of each, or their folder.
            prompts: templates, `{}` for the subjects and `{other}` for a further thing.
            seeds: of the pictures of each prompt.
            protocol: how pictures are drawn and compared, or its name.
            on_progress: called as pictures are drawn.

        Raises:
            InputError: no photograph, an unusable prompt, features that cannot be opened, or a
                protocol that is not for this model, these photographs or these words.
        """
        check_prompts(prompts)
        protocol = as_protocol(protocol)
        self.templates, self.seeds = tuple(prompts), tuple(check_seeds(seeds))
        with Block(backbone):
            check_distinct_tokens(subjects, backbone.family.tokenizers)
        nouns = [subject.class_noun for subject in subjects]
        phrase, plain = join_phrases(subject.phrase for subject in subjects), join_phrases(nouns)
        self.named = [fill_prompt(prompt, phrase, nouns) for prompt in prompts]
        self.plain = [fill_prompt(prompt, plain, nouns) for prompt in prompts]
        self.general = [fill_prompt(prompt, plain, nouns) for prompt in GENERAL_PROMPTS]
        scope = protocol.scope()
        scope.check(backbone, nouns, [*self.plain, *self.general])
        folders = [Path(each) if isinstance(each, str | Path) else None for each in images]
        for folder in filter(None, folders):
            scope.check_folder(folder)
        for prompt in self.named:
            backbone.check_prompt(prompt, [subject.token for subject in subjects])
        self.backbone, self.protocol, self.on_progress = backbone, protocol, on_progress
        photos = [_photographs(each) for each in images]
        self.looks = known_looks(protocol.reference, folders, nouns)
        self.scorer = Scorer(protocol, photos, nouns)
        self._done = 0

    def evaluate(
        self, artifact: Artifact | ConceptNeurons, strength: float | None = None
    ) -> Evaluation:
        """Draw with the artifact applied, or the neurons shut, and score the pictures.

        Args:
            artifact: of these subjects; its file's size is told.
            strength: of the shutting; None for what the neurons recommend.

        Raises:
            InputError: a strength is given, but the artifact is no neurons.
        """
        artifact = Cones(artifact) if isinstance(artifact, ConceptNeurons) else artifact
        applied, density = artifact.applied(self.backbone), None
        if isinstance(artifact, Cones):
            neurons, density = artifact.neurons, artifact.neurons.density
            strength = neurons.strength if strength is None else strength
            applied = shut(self.backbone, neurons, strength)
        elif strength is not None:
            raise InputError(f"strength: is of neurons, but a {artifact.method} artifact is given")
        return Evaluation(
            **vars(self.measure(applied)),
            floor=self.floor,
            ceiling=self.ceiling,
            strength=strength,
            density=density,
            nbytes=artifact.nbytes(),
            protocol=self.protocol,
            prompts=self.templates,
            seeds=self.seeds,
        )

    def measure(self, applied: AbstractContextManager[object]) -> Measurement:
        """Draw within a context in which the subjects are shown, and score the pictures."""
        with applied:
            pictures, general = self.draw(self.named), self.draw(self.general)
        moved = metrics.drift(self.general_features, self.scorer.features.images(general))
        return Measurement(self.score(pictures), moved, tuple(pictures))

    def score(self, pictures: Sequence[Image.Image]) -> Scores:
        """Score pictures of `plain`, prompt by prompt in the order of the seeds."""
        return self.scorer.score(pictures, [text for text in self.plain for _ in self.seeds])

    @cached_property
    def base_pictures(self) -> list[Image.Image]:
        """The base model's pictures of the prompts that name the subjects."""
        return self.draw(self.named)

    @cached_property
    def floor(self) -> Scores:
        """The scores of the base model."""
        return self.score(self.base_pictures)

    @cached_property
    def renders(self) -> list[Image.Image] | None:
        """Fresh renders of all subjects together, as the prompts ask for them."""
        reference = self.protocol.reference
        if reference is None or self.looks is None:
            return None
        return reference.draw(self.looks, self.plain, self.seeds)

    @cached_property
    def ceiling(self) -> Scores | None:
        """The scores of fresh renders; None where a subject's look is not known."""
        return self.score(self.renders) if self.renders else None

    @cached_property
    def general_features(self) -> Tensor:
        """Features of the base model's pictures of prompts that do not name the subjects."""
        return self.scorer.features.images(self.draw(self.general))

    def draw(self, prompts: Sequence[str]) -> list[Image.Image]:
        """Draw every prompt with every seed by the protocol, with the model as it is now."""
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
        if self.on_progress is not None:
            total = 2 * (len(self.named) + len(self.general)) * len(self.seeds)
            self.on_progress("draw", self._done, total, {})


def _photographs(images: Images) -> Sequence[Image.Image]:
    if isinstance(images, str | Path):
        return load_photos(Path(images)).images
    if not images:
        raise InputError("images: expected at least one photograph, found none")
    return rgb_images(images, "images")


def evaluate(
    backbone: Backbone,
    neurons: Neurons,
    images: Images,
    prompts: Sequence[str] = PROMPTS,
    seeds: Iterable[int] = SEEDS,
    *,
    strength: float | None = None,
    protocol: Protocol | str = DEFAULT,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Measure the neurons of one subject.

    Args:
        backbone: the base model.
        neurons: of exactly one subject, whose token and class noun fill the prompts; as they are or
            by the path of their file.
        images: the subject's photographs, or their folder. A folder that tells the protocol's
            reference how the subject looks gives a ceiling too.
        prompts: templates, `{}` for the subject and `{other}` for a second thing.
        seeds: of the pictures of each prompt.
        strength: of the shutting; None for what the neurons recommend.
        protocol: how pictures are drawn and compared, or its name (see `named_protocol`).
        on_progress: called with ("draw", pictures drawn, of how many, {}).

    Raises:
        InputError: neurons of no subject or of several, no photograph, an unusable prompt,
            features that cannot be opened, or a protocol that is not for this model, these
            photographs or these words (see `cones.evaluation.scope`).
        BaseModelError: the neurons are of a model of another layout.
        ConesError: pictures or scores became NaN or infinite.
    """
    check_backbone(backbone)
    neurons = union(neurons)
    if len(neurons.subjects) != 1:
        found = ", ".join(subject.token for subject in neurons.subjects) or "none"
        raise InputError(
            f"neurons: expected those of one subject, found {found}; for groups of subjects see "
            "`cones compare`"
        )
    evaluator = Evaluator(
        backbone, neurons.subjects, [images], prompts, seeds, protocol, on_progress
    )
    return evaluator.evaluate(neurons, strength)
