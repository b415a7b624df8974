"""From prompts and seeds to pictures, with or without concept neurons shut."""

import copy
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from itertools import product
from typing import Any, Protocol

import torch

from cones.checks import MAX_BATCH, check_count, check_number, check_seeds, check_some
from cones.errors import InputError
from cones.models.backbone import Backbone, check_backbone
from cones.models.families.solvers import SAMPLERS
from cones.models.finite import finite_pictures
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo, check_strength
from cones.neurons.neuronfile import neurons_hash
from cones.neurons.phrases import mentions
from cones.neurons.projections import fingerprint, projections
from cones.neurons.shutting import base_fingerprint, shut
from cones.neurons.tokens import check_distinct_tokens
from cones.neurons.union import (
    Neurons,
    all_subjects,
    common_strength,
    neuron_sets,
    repeated,
    strength_warning,
)
from cones.sampling.pictures import MARK, Picture
from cones.subjects.subject import many_subjects_warning
from cones.text import printable

log = logging.getLogger("cones")

MAX_SHOWN = 160  # characters of a prompt in a message
MAX_KEPT = 10_000  # in a picture's provenance: more than any model reads


class Artifact(Protocol):
    """What any method of `cones.methods` makes of a subject's photographs."""

    @property
    def method(self) -> str:
        """The method's name."""
        ...

    @property
    def subjects(self) -> tuple[SubjectInfo, ...]:
        """The subjects, by token."""
        ...

    @property
    def info(self) -> Mapping[str, str]:
        """Where it comes from: configuration, seed, report, versions."""
        ...

    def applied(self, backbone: Backbone) -> AbstractContextManager[Backbone]:
        """The backbone, changed in place; restored bit for bit when the block ends."""
        ...

    def nbytes(self) -> int:
        """The size of the file that `save` writes."""
        ...

    def to_bytes(self) -> bytes:
        """That file."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes its file, all or nothing."""
        ...

    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of that file."""
        ...


def generate(
    backbone: Backbone,
    prompts: str | Sequence[str],
    seeds: Iterable[int] = range(1),
    *,
    neurons: Neurons | Iterable[Neurons] | None = None,
    strength: float | None = None,
    artifact: Artifact | None = None,
    steps: int = 20,
    guidance: float = 5.0,
    negative_prompt: str = "",
    batch: int = 8,
    height: int | None = None,
    width: int | None = None,
    on_picture: Callable[[Picture], None] | None = None,
    wait: float = math.inf,
) -> list[Picture]:
    """Draws every prompt with every seed, by the backbone's scheduler.

    A picture depends on its prompt, its seed and the settings, not on the others of its batch (but
    for the last bits of floating-point sums). Each picture's `provenance` says all of that:
    "prompt", "negative_prompt", "seed", "steps", "guidance", "height", "width", "scheduler",
    "dtype", "model" and its "fingerprint", "weights" (the fingerprint of what was drawn with:
    another one where neurons were shut), "neurons" (`file_hash` of each file; of
    an artifact its method as well), "strength" (both empty without neurons), "cones" (the version),
    and "parameters", the same as other programs write it.

    Args:
        backbone: the model. `with shut(...)` around the call is respected.
        prompts: one or several.
        seeds: of the noise; for each prompt the same.
        neurons: shut for the duration, as they are or by the path of their file; several sets are
            united.
        strength: of the shutting; None for what the neurons recommend.
        artifact: another method's, applied for the duration; neurons are shut on top of it.
        steps: of the solver.
        guidance: weight of classifier-free guidance; 1 is none.
        negative_prompt: what to steer away from.
        batch: pictures drawn at once; fewer need less memory.
        height: of the pictures in pixels; None for the model's own.
        width: the same.
        on_picture: called with each picture when it is done.
        wait: seconds to wait while another thread or task uses the model; 0 refuses at once.

    Returns:
        The first prompt with each seed, then the second, ...

    Raises:
        InputError: nothing to draw, a setting out of range or without effect, a token of two
            subjects, a prompt so long that the token of a subject is cut off, or a model with
            weights that are NaN or infinite.
        BaseModelError: the neurons or the artifact are of a model of another layout.
        BusyError: the model is in use, and waiting was not wanted or would never end.
        ConesError: the pictures became NaN or infinite.
    """
    check_backbone(backbone)
    prompts = check_some("prompts", [prompts] if isinstance(prompts, str) else prompts)
    seeds = check_seeds(seeds)
    sets = [] if neurons is None else neuron_sets(neurons)
    steps = check_count("steps", steps, 1, backbone.timesteps)
    batch = check_count("batch", batch, 1, MAX_BATCH)
    height, width = backbone.side("height", height), backbone.side("width", width)
    guidance = _checked_guidance(backbone, guidance, negative_prompt)
    if strength is not None and not sets:
        raise InputError("strength: is of neurons, but none are given; name them or leave it out")
    parts: list[Artifact | ConceptNeurons] = [*([artifact] if artifact else []), *sets]
    subjects = all_subjects(parts)
    if strength is not None:
        strength = check_strength(strength)
    elif sets:
        strength = common_strength(sets)
        if remark := strength_warning(sets):
            log.warning(remark)
    if remark := repeated(sets):
        log.warning(remark)
    pictures: list[Picture] = []
    with Block(backbone, wait=wait):
        check_distinct_tokens(subjects, backbone.family.tokenizers)
        for remark in _remarks(backbone, prompts, negative_prompt, subjects):
            log.warning(remark)
        pipeline = _with_solver(backbone)
        model = {"model": backbone.name, "fingerprint": base_fingerprint(backbone)}
        with (
            artifact.applied(backbone) if artifact else nullcontext(),
            nullcontext() if neurons is None else shut(backbone, sets, strength),
        ):
            settings = {
                "negative_prompt": _kept(negative_prompt)
                if backbone.family.supports_negative_prompt
                else "",
                "steps": str(steps),
                "guidance": str(guidance),
                "height": str(height),
                "width": str(width),
                "scheduler": type(pipeline.scheduler).__name__,
                "dtype": str(backbone.dtype).removeprefix("torch."),
                **model,
                "weights": fingerprint(projections(backbone)),
                **_neurons_settings(sets, strength, artifact),
                MARK: version("cones-diffusion"),
            }
            wanted = list(product(prompts, seeds))
            for start in range(0, len(wanted), batch):
                for picture in _draw(backbone, pipeline, wanted[start : start + batch], settings):
                    pictures.append(picture)
                    if on_picture is not None:
                        on_picture(picture)
    return pictures


def _checked_guidance(backbone: Backbone, guidance: float, negative_prompt: str) -> float:
    """A weight of guidance that does what it says, and lets a negative prompt do so too."""
    least = backbone.family.least_guidance
    found = check_number("guidance", guidance, least=least, hint=f"{least:g} is none")
    if negative_prompt and backbone.family.supports_negative_prompt and found == least:
        raise InputError(
            f"negative prompt: has no effect at guidance {found:g}, which is none; give more, or "
            "leave it out"
        )
    return found


def _remarks(
    backbone: Backbone,
    prompts: Sequence[str],
    negative_prompt: str,
    subjects: Sequence[SubjectInfo],
) -> Iterator[str]:
    """What seems unmeant in prompts; refuses those in which a subject's token is cut off."""
    if remark := many_subjects_warning(len(subjects)):
        yield remark
    if remark := backbone.check_prompt(negative_prompt):
        yield remark
    if negative_prompt and not backbone.family.supports_negative_prompt:
        said = printable(repr(negative_prompt), MAX_SHOWN)
        yield f"negative prompt {said}: has no effect in {backbone.family.title}"
    yield from backbone.prompt_remarks(negative_prompt)
    for prompt in prompts:
        said = printable(repr(prompt), MAX_SHOWN)
        named = [subject for subject in subjects if mentions(prompt, subject.token)]
        if remark := backbone.check_prompt(prompt, [subject.token for subject in named]):
            yield remark
        yield from backbone.prompt_remarks(prompt)
        own = [subject.token for subject in subjects]
        if own and (remark := backbone.unowned_warning(prompt, own)):
            yield remark
        if subjects and not named:
            known = " or ".join(repr(each.phrase) for each in subjects)
            yield f"prompt {said}: names no subject of the neurons; say {known}"
        elif missing := [subject for subject in subjects if subject not in named]:
            unsaid = " and ".join(repr(each.phrase) for each in missing)
            yield f"prompt {said}: does not name {unsaid}; say so, or leave the neurons out"
        for subject in named:
            if not mentions(prompt, subject.class_noun):
                yield (
                    f"prompt {said}: says {subject.token!r} without {subject.class_noun!r}; "
                    f"say '{subject.phrase}', as it was found with"
                )


def _with_solver(backbone: Backbone) -> Any:
    """The backbone's pipeline with another scheduler; the original keeps its own."""
    pipeline = copy.copy(backbone.pipeline)
    pipeline.scheduler = backbone.family.solver(backbone.scheduler)
    return pipeline


def _neurons_settings(
    sets: Sequence[ConceptNeurons], strength: float | None, artifact: Artifact | None
) -> dict[str, str]:
    hashes = sorted({neurons_hash(neurons) for neurons in sets})
    if artifact is not None:
        hashes.insert(0, f"{artifact.method}:{artifact.digest()}")
    return {"neurons": " ".join(hashes), "strength": "" if strength is None else str(strength)}


def _draw(
    backbone: Backbone,
    pipeline: Any,
    wanted: Sequence[tuple[str, int]],
    settings: Mapping[str, str],
) -> list[Picture]:
    """One batch of (prompt, seed)."""
    guidance, negative_prompt = float(settings["guidance"]), settings["negative_prompt"]
    with finite_pictures(pipeline):
        drawn = pipeline(
            [prompt for prompt, _ in wanted],
            height=int(settings["height"]),
            width=int(settings["width"]),
            num_inference_steps=int(settings["steps"]),
            generator=[torch.Generator("cpu").manual_seed(seed) for _, seed in wanted],
            **backbone.family.settings(len(wanted), guidance, negative_prompt),
        )
    _check_not_blacked_out(getattr(drawn, "nsfw_content_detected", None), wanted)
    sampler, pictures = SAMPLERS[settings["scheduler"]], []
    for image, (prompt, seed) in zip(drawn.images, wanted, strict=True):
        provenance = {"prompt": _kept(prompt), "seed": str(seed), **settings}
        provenance["parameters"] = _parameters(provenance, sampler, image.size)
        pictures.append(Picture(image, prompt, seed, provenance))
    return pictures


def _kept(prompt: str) -> str:
    """What a picture's provenance holds of a prompt."""
    return prompt if len(prompt) <= MAX_KEPT else f"{prompt[: MAX_KEPT - 1]}\N{HORIZONTAL ELLIPSIS}"


def _check_not_blacked_out(flags: Sequence[bool] | None, wanted: Sequence[tuple[str, int]]) -> None:
    """Refuses pictures that a loaded pipeline's safety checker has made black."""
    for flagged, (prompt, seed) in zip(flags or (), wanted, strict=False):
        if flagged:
            raise InputError(
                f"prompt {prompt!r}, seed {seed}: the pipeline's safety checker made the picture "
                "black; draw another, or load the pipeline with safety_checker=None"
            )


def _parameters(provenance: Mapping[str, str], sampler: str, size: tuple[int, int]) -> str:
    """The text that A1111's web UI keeps in a picture, and that many programs read."""
    pairs = {
        "Steps": provenance["steps"],
        "Sampler": sampler,
        "CFG scale": provenance["guidance"],
        "Seed": provenance["seed"],
        "Size": f"{size[0]}x{size[1]}",
        "Model": provenance["model"],
        "Cones neurons": provenance["neurons"],
        "Cones strength": provenance["strength"],
        "Version": f"cones {provenance[MARK]}",
    }
    lines = [provenance["prompt"]]
    if provenance["negative_prompt"]:
        lines.append(f"Negative prompt: {provenance['negative_prompt']}")
    return "\n".join(
        [*lines, ", ".join(f"{key}: {_quoted(text)}" for key, text in pairs.items() if text)]
    )


def _quoted(text: str) -> str:
    """A value as the web UI writes it: in quotes where it could be taken for several."""
    return json.dumps(text) if set(text) & set(',"\n') else text
