"""Concept neurons: images of a subject in, a few kilobytes of integer indices out.

    backbone = cones.load_backbone("toybox")
    subject = cones.Subject.from_folder("photos/", class_noun="robot", token="sks")
    robot = cones.find(backbone, subject)
    robot.save("robot.cones.safetensors")
    pictures = cones.generate(backbone, "a photo of a sks robot", range(4), neurons=robot)

Names are imported when they are first used, so that a neuron file can be read without diffusers.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cones.attention import AttentionMaps, attention_maps
    from cones.backbone import Backbone
    from cones.combine import Interference, combine, interference
    from cones.errors import (
        BaseModelError,
        BaseModelWarning,
        BusyError,
        ConesError,
        InputError,
        NeuronFileError,
    )
    from cones.evaluate import Evaluation, compare, evaluate
    from cones.find import FindConfig, find
    from cones.generate import generate
    from cones.methods import fit
    from cones.methods.artifact import load_artifact
    from cones.neuronfile import load, save
    from cones.neurons import ConceptNeurons
    from cones.pictures import Picture, contact_sheet, read_provenance, save_pictures
    from cones.pretrained import load_backbone
    from cones.shutting import shut
    from cones.subject import Subject
    from cones.tune import TuneConfig, tune

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
    "attention": ("AttentionMaps", "attention_maps"),
    "backbone": ("Backbone",),
    "combine": ("Interference", "combine", "interference"),
    "pretrained": ("load_backbone",),
    "errors": (
        "BaseModelError",
        "BaseModelWarning",
        "BusyError",
        "ConesError",
        "InputError",
        "NeuronFileError",
    ),
    "evaluate": ("Evaluation", "compare", "evaluate"),
    "find": ("FindConfig", "find"),
    "generate": ("generate",),
    "methods": ("fit",),
    "methods.artifact": ("load_artifact",),
    "neuronfile": ("load", "save"),
    "neurons": ("ConceptNeurons",),
    "pictures": ("Picture", "contact_sheet", "read_provenance", "save_pictures"),
    "shutting": ("shut",),
    "subject": ("Subject",),
    "tune": ("TuneConfig", "tune"),
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


class _Package(ModuleType):
    """Keeps `cones.find` the function when the module of that name is imported.

    An import makes a submodule an attribute of its package; where it would hide the public name of
    what it defines, that takes its place. (`from cones.find import ...` finds the module still.)
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
