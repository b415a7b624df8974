"""From prompts and seeds to pictures, with or without concept neurons shut."""

import copy
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from itertools import product
from typing import Any

import torch

from cones.checks import MAX_BATCH, check_count, check_kind, check_number, check_seeds, check_some
from cones.errors import InputError
from cones.models.backbone import Backbone, check_backbone
from cones.models.families.solvers import SAMPLERS
from cones.models.finite import finite_pictures
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import ConceptNeurons, check_strength
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
from cones.sampling.artifact import Artifact
from cones.sampling.pictures import MARK, Picture
from cones.sampling.provenance import kept, kept_negative, of_neurons, parameters
from cones.sampling.remarks import remarks

log = logging.getLogger("cones")


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
    for text in (*prompts, negative_prompt):
        check_kind("prompt", text, str, "a text")
    if artifact is not None:
        check_kind("artifact", artifact, Artifact, "what cones.fit or cones.load_artifact returns")
    seeds = check_seeds(seeds)
    sets = [] if neurons is None else neuron_sets(neurons)
    steps = check_count("steps", steps, 1, backbone.timesteps)
    batch = check_count("batch", batch, 1, MAX_BATCH)
    height, width = backbone.side("height", height), backbone.side("width", width)
    guidance = _checked_guidance(backbone, guidance, negative_prompt)
    strength = _checked_strength(strength, sets)
    subjects = all_subjects([*([artifact] if artifact else []), *sets])
    pictures: list[Picture] = []
    with Block(backbone, wait=wait):
        check_distinct_tokens(subjects, backbone.family.tokenizers)
        for remark in remarks(backbone, prompts, negative_prompt, subjects):
            log.warning(remark)
        pipeline = _with_solver(backbone)
        settings = {
            "negative_prompt": kept_negative(backbone, negative_prompt),
            "steps": str(steps),
            "guidance": str(guidance),
            "height": str(height),
            "width": str(width),
            "scheduler": type(pipeline.scheduler).__name__,
            "dtype": str(backbone.dtype).removeprefix("torch."),
            "model": backbone.name,
            "fingerprint": base_fingerprint(backbone),
        }
        with (
            artifact.applied(backbone) if artifact else nullcontext(),
            nullcontext() if neurons is None else shut(backbone, sets, strength),
        ):
            settings["weights"] = fingerprint(projections(backbone))
            settings |= of_neurons(sets, strength, artifact)
            settings[MARK] = version("cones-diffusion")
            wanted = list(product(prompts, seeds))
            for start in range(0, len(wanted), batch):
                for picture in _draw(backbone, pipeline, wanted[start : start + batch], settings):
                    pictures.append(picture)
                    if on_picture is not None:
                        on_picture(picture)
    return pictures


def _checked_strength(strength: float | None, sets: Sequence[ConceptNeurons]) -> float | None:
    """The strength to shut with: what was asked for, or else what the sets recommend together."""
    if strength is not None and not sets:
        raise InputError("strength: is of neurons, but none are given; name them or leave it out")
    for remark in (strength_warning(sets) if sets and strength is None else None, repeated(sets)):
        if remark:
            log.warning(remark)
    if strength is not None:
        return check_strength(strength)
    return common_strength(sets) if sets else None


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


def _with_solver(backbone: Backbone) -> Any:
    """The backbone's pipeline with another scheduler; the original keeps its own."""
    pipeline = copy.copy(backbone.pipeline)
    pipeline.scheduler = backbone.family.solver(backbone.scheduler)
    return pipeline


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
        provenance = {"prompt": kept(prompt), "seed": str(seed), **settings}
        provenance["parameters"] = parameters(provenance, sampler, image.size)
        pictures.append(Picture(image, prompt, seed, provenance))
    return pictures


def _check_not_blacked_out(flags: Sequence[bool] | None, wanted: Sequence[tuple[str, int]]) -> None:
    """Refuses pictures that a loaded pipeline's safety checker has made black."""
    for flagged, (prompt, seed) in zip(flags or (), wanted, strict=False):
        if flagged:
            raise InputError(
                f"prompt {prompt!r}, seed {seed}: the pipeline's safety checker made the picture "
                "black; draw another, or load the pipeline with safety_checker=None"
            )
