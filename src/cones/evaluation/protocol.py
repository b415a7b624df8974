"""Named protocols: everything that a score depends on besides the neurons and the photographs.

Scores of different protocols are never compared with each other, so each carries its name.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pkgutil import resolve_name
from typing import Any

from cones.checks import check_count, check_number
from cones.errors import InputError
from cones.evaluation.dino import DinoFeatures
from cones.evaluation.features import ClipFeatures, Features, features_hash
from cones.evaluation.reference import Reference
from cones.evaluation.scope import Scope
from cones.neurons.phrases import fill

# `{}` is the subject ("sks robot") or all of them ("sks robot and an ohwx mug"), `{other}` a thing
# of another class.
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

# Prompts that do not name the subject: here `{}` is its class without the token, or theirs.
GENERAL_PROMPTS = (
    "a photo of a {} on the beach",
    "a {} in the snow",
    "a photo of a {other} in the forest",
    "there is a dog in the city",
    "a picture of a house and a car at night",
    "a drawing of a duck in the kitchen",
)

# The other thing is the first of these that is no subject's class.
OTHER_NOUNS = ("mug", "robot", "car", "dog", "house")

# What CLIP tells a subject of any photograph from, besides the subjects' own classes.
NOUNS = (
    "robot", "mug", "car", "house", "tree", "fish", "ball", "backpack", "teapot", "dog", "cat",
    "duck", "chair", "table", "bottle", "clock", "shoe", "flower", "bird", "horse", "person",
    "boat", "toy", "vase", "bowl", "candle", "hat",
)  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """How pictures are drawn and by which features they are scored.

    Attributes:
        name: what reports call it.
        version: raised with every change that moves a score.
        features: opens the features.
        nouns: kinds of things that the features tell apart, for the presence of the subjects.
        dino: opens features of pictures for a second image alignment; None for none.
        steps: of the sampler.
        guidance: of classifier-free guidance.
        solver: the sampler; only a name, since `cones.generate` has one.
        scope: makes what tells which base models, words and photographs it is for.
        reference: reads from photographs' folders how subjects truly look and draws them so, for
            the ceiling; None for no ceiling.

    Raises:
        InputError: a number that nothing can be drawn with.
    """

    name: str
    version: int
    features: Callable[[], Features]
    nouns: tuple[str, ...] = NOUNS
    dino: Callable[[], DinoFeatures] | None = None
    steps: int = 20
    guidance: float = 5.0
    solver: str = "DPM-Solver++ (2M)"
    scope: Callable[[], Scope] = Scope
    reference: Reference | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn with."""
        check_count("version", self.version)
        check_count("steps", self.steps)
        check_number("guidance", self.guidance, least=0)

    def as_dict(self) -> dict[str, Any]:
        """What a report says about it; "features" is a hash of the networks that compare."""
        names = ("name", "version", "steps", "guidance", "solver")
        return {**{name: getattr(self, name) for name in names}, "features": self._features_hash}

    @cached_property
    def _features_hash(self) -> str:
        return features_hash(filter(None, [self.features(), self.dino and self.dino()]))


DEFAULT = "toybox"
# Protocols that come with their own model -> where they are; imported when they are asked for, so
# that nothing here depends on such a model.
EMBEDDED = {DEFAULT: "cones.toybox.protocol:TOYBOX"}

# Protocols for real photographs -> the CLIP and the DINO that they compare by: hub names.
HUB_MODELS = {
    "cones": ("openai/clip-vit-large-patch14", "facebook/dino-vits16"),
    "custom-diffusion": ("openai/clip-vit-base-patch32", "facebook/dino-vits16"),
}


def named_protocol(
    name: str, clip: str | None = None, dino: str | None = None, local_files_only: bool = True
) -> Protocol:
    """A protocol by its name.

    Args:
        name: "toybox"; "cones" (CLIP ViT-L/14) or "custom-diffusion" (CLIP ViT-B/32), both with
            DINO ViT-S/16 for a second image alignment.
        clip: where that CLIP lies, a folder or a hub name; None for the hub's own.
        dino: the same for DINO.
        local_files_only: False lets a hub name be downloaded.

    Raises:
        InputError: there is no such protocol, or one that compares by its own CLIP is given
            another.
    """
    if name not in (*EMBEDDED, *HUB_MODELS):
        known = ", ".join((*EMBEDDED, *HUB_MODELS))
        raise InputError(f"protocol {name!r}: is unknown; expected one of {known}")
    if name in EMBEDDED:
        if clip or dino:
            raise InputError(
                f"protocol {name!r}: compares by its own CLIP alone; name another protocol "
                f"({', '.join(HUB_MODELS)}) with --clip and --dino"
            )
        found: Protocol = resolve_name(EMBEDDED[name])
        return found
    models = [given or hub for given, hub in zip((clip, dino), HUB_MODELS[name], strict=True)]
    return Protocol(
        name,
        1,
        cache(partial(ClipFeatures, models[0], local_files_only=local_files_only)),
        dino=cache(partial(DinoFeatures, models[1], local_files_only=local_files_only)),
        steps=50,
        guidance=6.0,
        reference=named_protocol(DEFAULT).reference,  # the photographs may be its renders
    )


def as_protocol(protocol: Protocol | str) -> Protocol:
    """A protocol, or that of a name; errors are those of `named_protocol`."""
    return named_protocol(protocol) if isinstance(protocol, str) else protocol


def check_prompts(templates: Sequence[str]) -> None:
    """Refuse prompts that do not say where the subject stands.

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


def fill_prompt(template: str, subject: str, nouns: Collection[str]) -> str:
    """A prompt from its template.

    Args:
        template: with `{}` for the subject and `{other}` for a second thing, both if wanted.
        subject: what stands for `{}`: "sks robot", or "robot" for the plain words.
        nouns: the subjects' classes, which `{other}` must not be.

    Raises:
        InputError: `template` has anything else in braces.
    """
    other = next((noun for noun in OTHER_NOUNS if noun not in nouns), OTHER_NOUNS[0])
    try:
        return fill(template.format("{}", other=other), subject)
    except (LookupError, ValueError, AttributeError) as error:
        raise InputError(
            f"prompt {template!r}: expected nothing in braces but {{}} and {{other}} ({error})"
        ) from error
