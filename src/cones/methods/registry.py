"""All methods by their names, and `fit`, which calls one of them."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, get_args

from cones.errors import InputError
from cones.methods import MethodName
from cones.methods.method import Method
from cones.models.backbone import Backbone
from cones.progress import OnProgress
from cones.sampling.artifact import Artifact
from cones.search.prior import ClassImages
from cones.subjects.subject import Subject

METHODS: dict[str, Method] = {
    name: import_module(f"cones.methods.{name}").METHOD for name in get_args(MethodName)
}


def fit(
    method: str,
    backbone: Backbone,
    subjects: Subject | Sequence[Subject],
    config: Any = None,
    class_images: ClassImages | None = None,
    on_progress: OnProgress | None = None,
) -> Artifact:
    """Fit subjects with any method, so that methods can be compared.

    Args:
        method: a name in `METHODS`.
        backbone: the base model, which stays as it is.
        subjects: photographs and words of one subject, or of several that are fitted together.
        config: of the method's own class; None for `METHODS[method].defaults`.
        class_images: class noun -> images of the class, for the prior; the model draws those of the
            nouns that are missing.
        on_progress: called with (stage, done, total, figures).

    Returns:
        The artifact: `artifact.applied(backbone)` draws the subjects while its block runs.

    Raises:
        InputError: there is no such method, the configuration is another method's, no subject is
            given, or a token cannot carry a subject; or the method does not serve this model.
        ConesError: the loss or its gradient became NaN or infinite.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r}: is unknown; expected one of {', '.join(METHODS)}")
    chosen = METHODS[method]
    config = chosen.defaults if config is None else config
    if not isinstance(config, type(chosen.defaults)):
        raise InputError(
            f"config: the method {method!r} takes a {type(chosen.defaults).__name__}, found a "
            f"{type(config).__name__}; give dataclasses.replace(METHODS[{method!r}].defaults, ...)"
        )
    return chosen.fit(backbone, subjects, config, class_images, on_progress)
