"""The paper's Figure 3: the same pictures at every precision of the neurons' values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from cones.checks import check_seeds, check_some
from cones.evaluation.protocol import (
    DEFAULT,
    PROMPTS,
    Protocol,
    as_protocol,
    check_prompts,
    fill_prompt,
)
from cones.evaluation.scores import Scorer, Scores
from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import nbytes
from cones.neurons.phrases import join_phrases
from cones.progress import OnProgress
from cones.sampling.generate import generate
from cones.sampling.pictures import Picture
from cones.search.config import PRECISIONS, TuneConfig
from cones.search.prior import ClassImages
from cones.search.tune import joint_loss, tune_on
from cones.subjects.subject import Subject

PLACES = PROMPTS[:4]
SEEDS = range(2)
CONFIG = TuneConfig()


@dataclass(frozen=True)
class PrecisionRow:
    """The pictures of one precision, and what they are worth.

    Attributes:
        name: the precision, or "base model".
        neurons: as they were tuned; None for the base model.
        scores: text alignment with the whole prompt, and image alignment with the photographs of
            each subject, the mean over subjects.
        pictures: prompt by prompt, in the order of the seeds.
    """

    name: str
    neurons: ConceptNeurons | None
    scores: Scores
    pictures: tuple[Image.Image, ...]

    @property
    def nbytes(self) -> int:
        """Size of the neuron file; 0 for the base model."""
        return nbytes(self.neurons) if self.neurons else 0

    def as_dict(self) -> dict[str, Any]:
        """Everything but the pictures and the neurons, as plain JSON types."""
        errors = {"text_alignment": self.scores.text_se, "image_alignment": self.scores.image_se}
        return {
            "precision": self.name,
            "bytes": self.nbytes,
            "strength": self.neurons.strength if self.neurons else None,
            **self.scores.as_dict(),
            "se": errors,
        }


def compare_precisions(
    backbone: Backbone,
    neurons: ConceptNeurons,
    subjects: Subject | Sequence[Subject],
    prompts: Sequence[str] = PLACES,
    seeds: Iterable[int] = SEEDS,
    config: TuneConfig = CONFIG,
    protocol: Protocol | str = DEFAULT,
    class_images: ClassImages | None = None,
    on_progress: OnProgress | None = None,
) -> list[PrecisionRow]:
    """Tune neurons at each precision and draw the same with them.

    Args:
        backbone: the base model.
        neurons: of one subject or of several; see `cones.search.tune.tune`, for the errors too.
        subjects: photographs of exactly these.
        prompts: templates, `{}` for all subjects ("sks robot and an ohwx mug"), `{other}` for a
            further thing.
        seeds: of the pictures of each prompt.
        config: how to tune; its precision does not matter.
        protocol: how pictures are drawn and compared, or its name.
        class_images: for the prior, by the class noun; the model draws the others.
        on_progress: called with (stage, done, total, figures).

    Returns:
        The base model, then binary, quaternary, float16, float32.

    Raises:
        InputError: an unusable prompt, no seed, features that cannot be opened, or a protocol that
            is not for this model, these photographs or these words.
    """
    check_prompts(prompts)
    protocol = as_protocol(protocol)
    seeds = check_seeds(seeds)
    nouns = [subject.class_noun for subject in neurons.subjects]
    phrase, plainly = join_phrases(each.phrase for each in neurons.subjects), join_phrases(nouns)
    named = [fill_prompt(prompt, phrase, nouns) for prompt in prompts]
    plain = [fill_prompt(prompt, plainly, nouns) for prompt in prompts for _ in seeds]
    protocol.scope().check(backbone, nouns, plain)
    given = check_some("subjects", [subjects] if isinstance(subjects, Subject) else subjects)
    scorer = Scorer(protocol, [each.images for each in given], [each.class_noun for each in given])
    objective = joint_loss(backbone, neurons, subjects, config, class_images, on_progress)
    done: list[Picture] = []

    def drawn(picture: Picture) -> None:
        done.append(picture)
        if on_progress is not None:
            on_progress("draw", len(done), (1 + len(PRECISIONS)) * len(plain), {})

    def row(name: str, tuned: ConceptNeurons | None) -> PrecisionRow:
        made = generate(
            backbone,
            named,
            seeds,
            neurons=tuned,
            steps=protocol.steps,
            guidance=protocol.guidance,
            on_picture=drawn,
        )
        pictures = tuple(picture.image for picture in made)
        return PrecisionRow(name, tuned, scorer.score(pictures, plain), pictures)

    rows = [row("base model", None)]
    for precision in PRECISIONS:
        settings = replace(config, precision=precision)
        rows.append(
            row(precision, tune_on(objective, neurons, settings, _staged(on_progress, precision)))
        )
    return rows


def _staged(on_progress: OnProgress | None, name: str) -> OnProgress | None:
    """`on_progress` with stages of this name in it: "tune float16"."""
    if on_progress is None:
        return None
    return lambda stage, done, total, figures: on_progress(f"{stage} {name}", done, total, figures)
