"""Cones itself behind the protocol of the methods: the search of `cones.find`."""

from collections.abc import Sequence

from cones.backbone import Backbone
from cones.find import FindConfig, find
from cones.methods.artifact import Cones
from cones.objective import ClassImages
from cones.search import OnStep
from cones.subject import Subject

defaults = FindConfig()


def fit(
    backbone: Backbone,
    subjects: Subject | Sequence[Subject],
    config: FindConfig = defaults,
    class_images: ClassImages | None = None,
    on_step: OnStep | None = None,
) -> Cones:
    """Finds concept neurons; arguments and errors as for `cones.find.find`."""
    return Cones(find(backbone, subjects, config, class_images, on_step))
