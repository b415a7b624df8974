"""The whole pipeline as a diffusers folder, with the neurons shut: for whatever reads diffusers."""

import os

from cones.export.folders import new_folder
from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.shutting import shut


def save(
    backbone: Backbone,
    neurons: ConceptNeurons,
    path: str | os.PathLike[str],
    strength: float | None = None,
) -> None:
    """Writes the folder, in the type that the model is loaded in.

    Args:
        backbone: of any family.
        neurons: shut or tuned.
        path: a new or an empty folder.
        strength: None for what the neurons recommend.

    Raises:
        InputError: `path` cannot be written, or is there already.
        BaseModelError: the neurons are of a model of another layout.
    """
    with new_folder(path) as folder, shut(backbone, neurons, strength):
        backbone.pipeline.save_pretrained(folder, safe_serialization=True)
