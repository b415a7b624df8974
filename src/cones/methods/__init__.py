"""Cones and its rivals behind one protocol, to compare concept neurons with.

Each method is a module with `defaults`, a configuration, and
`fit(backbone, subjects, config=defaults, class_images=None, on_progress=None)`, which gives an
`Artifact`: applied to the backbone, it draws the subjects, and afterwards all is as before.
"""

from types import ModuleType
from typing import Any

from cones.errors import InputError
from cones.methods import cones, custom_diffusion, dreambooth, lora, textual_inversion
from cones.sampling.generate import Artifact

METHODS: dict[str, ModuleType] = {
    "cones": cones,
    "textual_inversion": textual_inversion,
    "dreambooth": dreambooth,
    "custom_diffusion": custom_diffusion,
    "lora": lora,
}


def fit(method: str, *arguments: Any, **settings: Any) -> Artifact:
    """Fits subjects with a method; see the `fit` of its module.

    Raises:
        InputError: there is no such method; and what its `fit` raises.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r}: is unknown; expected one of {', '.join(METHODS)}")
    artifact: Artifact = METHODS[method].fit(*arguments, **settings)
    return artifact
