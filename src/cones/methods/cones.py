"""Cones itself behind the protocol of the methods: the search of `cones.find`."""

from collections.abc import Sequence

from cones.methods.artifact import Cones
from cones.models.backbone import Backbone
from cones.progress import OnProgress
from cones.search.config import FindConfig
from cones.search.find import find
from cones.search.objective import ClassImages
from cones.subjects.subject import Subject

defaults = FindConfig()


def fit(
    backbone: Backbone,
    subjects: Subject | Sequence[Subject],
    config: FindConfig = defaults,
    class_images: ClassImages | None = None,
    on_progress: OnProgress | None = None,
) -> Cones:
    """Finds concept neurons; arguments and errors as for `cones.search.find.find`."""
    return Cones(find(backbone, subjects, config, class_images, on_progress))
