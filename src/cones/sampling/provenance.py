"""What it takes to draw a picture again, as texts that are kept in its file."""

import json
from collections.abc import Mapping, Sequence

from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import neurons_hash
from cones.sampling.artifact import Artifact
from cones.sampling.pictures import MARK

MAX_KEPT = 10_000  # characters of a prompt: more than any model reads


def kept(prompt: str) -> str:
    """What is kept of a prompt."""
    return prompt if len(prompt) <= MAX_KEPT else f"{prompt[: MAX_KEPT - 1]}\N{HORIZONTAL ELLIPSIS}"


def kept_negative(backbone: Backbone, negative_prompt: str) -> str:
    """What is kept of a negative prompt: nothing where the model reads none."""
    return kept(negative_prompt) if backbone.family.supports_negative_prompt else ""


def of_neurons(
    sets: Sequence[ConceptNeurons], strength: float | None, artifact: Artifact | None
) -> dict[str, str]:
    """What was applied to the model.

    Args:
        sets: of neurons that were shut.
        strength: of their shutting; None without neurons.
        artifact: another method's, if there was one.

    Returns:
        "neurons", the hashes of their files, an artifact's with its method; and "strength".
    """
    hashes = sorted({neurons_hash(neurons) for neurons in sets})
    if artifact is not None:
        hashes.insert(0, f"{artifact.method}:{artifact.digest()}")
    return {"neurons": " ".join(hashes), "strength": "" if strength is None else str(strength)}


def parameters(provenance: Mapping[str, str], sampler: str, size: tuple[int, int]) -> str:
    """The text that A1111's web UI keeps in a picture, and that many programs read.

    Args:
        provenance: all else that is kept.
        sampler: the solver's name in that program.
        size: width and height, in pixels.
    """
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
