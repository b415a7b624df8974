"""Named protocols: everything that a score depends on besides the neurons and the photographs.

Scores of different protocols are never compared with each other, so each carries its name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from cones.errors import InputError
from cones.evaluate.features import ClipFeatures, Features
from cones.toybox import weights

# `{}` is the subject ("sks robot"), `{other}` a thing of another class. The first eight name every
# place of the toybox once.
PROMPTS = (
    "a photo of a {} on the beach",
    "a {} in the snow",
    "in the forest, a {}",
    "there is a {} at night",
    "a picture of my {} in the kitchen",
    "an image of the {} in the desert",
    "a drawing of a {} in the meadow",
    "a photo of a {} in the city",
    "a photo of a {} and a {other} in the snow",
    "there is a {other} and a {} on the beach",
)

# Prompts that do not name the subject: here `{}` is its class without the token.
GENERAL_PROMPTS = (
    "a photo of a {} on the beach",
    "a {} in the snow",
    "a photo of a {other} in the forest",
    "there is a dog in the city",
    "a picture of a house and a car at night",
    "a drawing of a duck in the kitchen",
)

OTHERS = ("mug", "robot")  # the second thing is the first of these that is not the subject's class


@dataclass(frozen=True)
class Protocol:
    """How pictures are drawn and by which features they are scored.

    Attributes:
        name: what reports call it.
        version: raised with every change that moves a score.
        features: opens the features.
        steps: of the sampler.
        guidance: of classifier-free guidance.
        solver: the sampler; only a name, since `cones.generate` has one.
    """

    name: str
    version: int
    features: Callable[[], Features]
    steps: int = 20
    guidance: float = 5.0
    solver: str = "DPM-Solver++ (2M)"

    def as_dict(self) -> dict[str, str | int | float]:
        """What a report says about it."""
        names = ("name", "version", "steps", "guidance", "solver")
        return {name: getattr(self, name) for name in names}


@cache
def toybox_features() -> Features:
    """toybox-clip, opened once."""
    return ClipFeatures(weights("clip"))


TOYBOX_1 = Protocol("toybox", 1, toybox_features)


def check_prompts(templates: Sequence[str]) -> None:
    """Refuses prompts that do not say where the subject stands.

    Raises:
        InputError: there are none, or one has no `{}`.
    """
    if not templates:
        raise InputError("prompts: expected at least one, found none")
    for template in templates:
        if "{}" not in template:
            raise InputError(
                f"prompt {template!r}: expected {{}} where the subject is to stand, as in "
                f"{PROMPTS[0]!r}"
            )


def filled(template: str, subject: str, class_noun: str) -> str:
    """A prompt from its template.

    Args:
        template: with `{}` for the subject and `{other}` for a second thing, both if wanted.
        subject: what stands for `{}`: "sks robot", or "robot" for the plain words.
        class_noun: the subject's class, which `{other}` must not be.

    Raises:
        InputError: `template` has anything else in braces.
    """
    other = next(noun for noun in OTHERS if noun != class_noun)
    try:
        return template.format(subject, other=other)
    except (LookupError, ValueError, AttributeError) as error:
        raise InputError(
            f"prompt {template!r}: expected nothing in braces but {{}} and {{other}} ({error})"
        ) from error
