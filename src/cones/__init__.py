"""Concept neurons: images of a subject in, a few kilobytes of integer indices out.

    backbone = cones.load_backbone("toybox")
    subject = cones.Subject.from_folder("photos/", class_noun="robot", token="sks")
    robot = cones.find(backbone, subject)
    robot.save("robot.cones.safetensors")
    pictures = cones.generate(backbone, "a photo of a sks robot", range(4), neurons=robot)

Names are imported when they are first used, so that a neuron file can be read without diffusers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cones.comparison.table import compare
    from cones.errors import (
        BaseModelError,
        BaseModelWarning,
        BusyError,
        ConesError,
        InputError,
        NeuronFileError,
    )
    from cones.evaluation import Evaluation, evaluate
    from cones.methods.artifact import load_artifact
    from cones.methods.registry import fit
    from cones.models.backbone import Backbone
    from cones.models.loading import load_backbone
    from cones.neurons.concept_neurons import ConceptNeurons
    from cones.neurons.neuronfile import load, save
    from cones.neurons.shutting import shut
    from cones.sampling.attention import AttentionMaps, attention_maps
    from cones.sampling.generate import generate
    from cones.sampling.pictures import Picture, contact_sheet, read_provenance, save_pictures
    from cones.search.config import FindConfig, TuneConfig
    from cones.search.find import find
    from cones.search.interference import Interference, combine, interference
    from cones.search.tune import tune
    from cones.subjects.subject import Subject

    __version__: str

__all__ = [
    "AttentionMaps",
    "Backbone",
    "BaseModelError",
    "BaseModelWarning",
    "BusyError",
    "ConceptNeurons",
    "ConesError",
    "Evaluation",
    "FindConfig",
    "InputError",
    "Interference",
    "NeuronFileError",
    "Picture",
    "Subject",
    "TuneConfig",
    "__version__",
    "attention_maps",
    "combine",
    "compare",
    "contact_sheet",
    "evaluate",
    "find",
    "fit",
    "generate",
    "interference",
    "load",
    "load_artifact",
    "load_backbone",
    "read_provenance",
    "save",
    "save_pictures",
    "shut",
    "tune",
]

_HOMES = {
    "comparison.table": ("compare",),
    "errors": (
        "BaseModelError",
        "BaseModelWarning",
        "BusyError",
        "ConesError",
        "InputError",
        "NeuronFileError",
    ),
    "evaluation": ("Evaluation", "evaluate"),
    "methods.artifact": ("load_artifact",),
    "methods.registry": ("fit",),
    "models.backbone": ("Backbone",),
    "models.loading": ("load_backbone",),
    "neurons.concept_neurons": ("ConceptNeurons",),
    "neurons.neuronfile": ("load", "save"),
    "neurons.shutting": ("shut",),
    "sampling.attention": ("AttentionMaps", "attention_maps"),
    "sampling.generate": ("generate",),
    "sampling.pictures": ("Picture", "contact_sheet", "read_provenance", "save_pictures"),
    "search.config": ("FindConfig", "TuneConfig"),
    "search.find": ("find",),
    "search.interference": ("Interference", "combine", "interference"),
    "search.tune": ("tune",),
    "subjects.subject": ("Subject",),
}
_HOME = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("cones-diffusion")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
