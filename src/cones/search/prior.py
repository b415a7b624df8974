"""What must stay as it is while a subject is implanted: the prior of the concept-implanting loss.

Class images alone keep the class; general captions keep other classes and places; prompts with
other rare tokens keep those free for other subjects; and the class's own prompts on the subject's
photographs keep the plain word from taking the subject's look.
"""

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from itertools import islice

from PIL import Image

from cones.models.backbone import Backbone
from cones.neurons.phrases import fill
from cones.progress import OnProgress
from cones.sampling.generate import generate
from cones.sampling.pictures import Picture
from cones.subjects.photos import rgb_images
from cones.subjects.subject import TEMPLATES, Examples, Subject, joined_examples, shared_photographs

log = logging.getLogger("cones")

# Ordinary words of every text-to-image model; those that are no single token here are left out.
NOUNS = ("dog", "cat", "car", "house", "tree", "mug", "ball", "fish", "robot", "teapot")
PLACES = (
    "on the beach", "in the forest", "in the snow", "in the city", "in the desert", "at night",
    "in the kitchen", "in the meadow",
)  # fmt: skip
STEPS = 12  # of the solver, for the images that the model draws itself
GUIDANCE = 3.0
BATCH = 8
MAX_GENERAL = 32

ClassImages = Mapping[str, Sequence[Image.Image]]
DrawnImages = MutableMapping[str, Sequence[Image.Image]]


def general_prompts(backbone: Backbone, class_noun: str, count: int) -> list[str]:
    """Return captions of other things in other places, of words that are single tokens."""
    nouns = [
        noun for noun in NOUNS if noun != class_noun and len(backbone.token_ids(noun)) == 1
    ] or [class_noun]
    return [f"a photo of a {nouns[k % len(nouns)]} {PLACES[k % len(PLACES)]}" for k in range(count)]


def draw_class_images(
    backbone: Backbone,
    subject: Subject,
    count: int,
    seed: int,
    on_progress: OnProgress | None = None,
) -> list[Image.Image]:
    """Let the model draw images of the class: "a photo of a robot"."""
    prompt = fill(TEMPLATES[0], subject.class_noun)
    return _draw(backbone, [prompt], range(seed, seed + count), "draw the class", on_progress)


def all_class_images(
    backbone: Backbone,
    subjects: Sequence[Subject],
    given: ClassImages,
    count: int,
    seed: int,
    on_progress: OnProgress | None = None,
    drawn: DrawnImages | None = None,
) -> dict[str, Sequence[Image.Image]]:
    """Return images of each subject's class, by its noun: those given, the others drawn.

    Args:
        backbone: the model.
        subjects: whose classes.
        given: images of a class, by its noun.
        count: how many to draw of a class that none are given of.
        seed: of the first image; the others have the next ones.
        on_progress: called as they are drawn.
        drawn: images that were drawn before, which are not drawn again; to it are added new ones.

    Raises:
        InputError: some that are given are no images.
    """
    images: dict[str, Sequence[Image.Image]] = {
        noun: rgb_images(some, f"class images of {noun!r}") for noun, some in given.items()
    }
    drawn = {} if drawn is None else drawn
    for remark in shared_photographs(subjects, images):
        log.warning(remark)
    for subject in subjects:
        noun = subject.class_noun
        if not images.get(noun):
            if noun not in drawn:
                drawn[noun] = draw_class_images(backbone, subject, count, seed, on_progress)
            images[noun] = drawn[noun]
    return images


def _draw(
    backbone: Backbone,
    prompts: Sequence[str],
    seeds: Sequence[int],
    stage: str,
    on_progress: OnProgress | None,
) -> list[Image.Image]:
    images: list[Image.Image] = []

    def drawn(picture: Picture) -> None:
        images.append(picture.image)
        if on_progress is not None:
            on_progress(stage, len(images), len(prompts) * len(seeds), {})

    generate(
        backbone, prompts, seeds, steps=STEPS, guidance=GUIDANCE, batch=BATCH, on_picture=drawn
    )
    return images


def prior_examples(
    backbone: Backbone,
    subject: Subject,
    class_images: Sequence[Image.Image],
    distilled: bool,
    seed: int,
    on_progress: OnProgress | None = None,
    taken: Sequence[str] = (),
) -> Examples:
    """Return the prior's latents and prompts.

    Args:
        backbone: the model.
        subject: whose class is to be kept.
        class_images: of the class.
        distilled: whether the target is the model's own prediction. If not, only the class images
            with the class's prompts serve, as in the paper: any other pair would teach that they
            belong together.
        seed: of the general images, which the model draws.
        on_progress: called as these are drawn.
        taken: tokens of other subjects that are implanted at once, so no strangers.
    """
    noun = subject.class_noun
    plain = [fill(template, noun) for template in TEMPLATES]
    if not distilled:
        return Examples.of(backbone, class_images, [plain] * len(class_images))
    known = [backbone.token_ids(word) for word in (subject.token, *taken)]
    free = (word for word in backbone.rare_tokens(16) if backbone.token_ids(word) not in known)
    others = [*islice(free, 4)]
    strangers = [TEMPLATES[k % 2].format(f"{word} {noun}") for k, word in enumerate(others)]
    general = general_prompts(backbone, noun, min(len(class_images), MAX_GENERAL))
    drawn = _draw(backbone, general, [seed], "draw other things", on_progress)
    unguided = ""  # what classifier-free guidance steers away from
    parts = [
        Examples.of(backbone, class_images, [[*plain, *strangers, unguided]] * len(class_images)),
        Examples.of(backbone, drawn, [[text, unguided] for text in general]),
        Examples.of(backbone, subject.images, [[*plain, unguided]] * len(subject.images)),
    ]
    return joined_examples(parts)
