"""Cones itself behind the interface of the methods: the search of `cones.find`."""

from collections.abc import Sequence

from cones.methods.artifact import Cones
from cones.methods.method import Method
from cones.models.backbone import Backbone
from cones.progress import OnProgress
from cones.search import interference
from cones.search.config import FindConfig
from cones.search.find import find
from cones.search.prior import ClassImages
from cones.subjects.subject import Subject

DEFAULTS = FindConfig()


def fit(
    backbone: Backbone,
    subjects: Subject | Sequence[Subject],
    config: FindConfig = DEFAULTS,
    class_images: ClassImages | None = None,
    on_progress: OnProgress | None = None,
) -> Cones:
    """Find concept neurons; arguments and errors as for `cones.search.find.find`."""
    return Cones(find(backbone, subjects, config, class_images, on_progress))


def combine(artifacts: Sequence[Cones]) -> Cones:
    """Unite neurons that were found alone; errors as for `cones.search.interference.combine`."""
    return Cones(interference.combine([each.neurons for each in artifacts]))


METHOD = Method(
    "cones",
    "Cones",
    "the union of the neurons found alone; binary, nothing trained",
    DEFAULTS,
    fit,
    combine,
)
