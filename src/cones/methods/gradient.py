"""Methods of gradient descent: each says what it trains, and the rest is the same for all."""

from collections.abc import Callable, Sequence
from typing import Any

from cones.methods.method import JOINTLY, Method, RivalConfig
from cones.methods.trainable import Trainable, check_trainable
from cones.methods.trained_weights import TunedWeights
from cones.methods.training import Stops, Training
from cones.models.backbone import Backbone
from cones.progress import OnProgress
from cones.sampling.artifact import Artifact
from cones.search.objective import check_subjects
from cones.search.prior import ClassImages
from cones.subjects.subject import Subject


def gradient_method(
    name: str,
    title: str,
    defaults: RivalConfig,
    start: Callable[[Backbone, Sequence[Subject], Any], Trainable],
    how: str = JOINTLY,
    combine: Callable[[Sequence[Any]], Artifact] | None = None,
) -> Method:
    """A method that trains some of the model's values by gradient descent.

    Args:
        name: see `Method`, as for `title`, `how` and `combine`.
        title: what tables call it.
        defaults: its configuration.
        start: (backbone, subjects, config) -> what is trained, with its first values.
        how: what it does with several subjects.
        combine: puts artifacts of subjects that were fitted alone together.
    """

    def fit(
        backbone: Backbone,
        subjects: Subject | Sequence[Subject],
        config: Any = defaults,
        class_images: ClassImages | None = None,
        on_progress: OnProgress | None = None,
        stops: Stops | None = None,
    ) -> TunedWeights:
        """Train on all subjects together; arguments and errors as for `Training`."""
        check_trainable(backbone)
        given = [subjects] if isinstance(subjects, Subject) else list(subjects)
        check_subjects(backbone, given)
        trainable = start(backbone, given, config)
        training = Training(backbone, given, config, class_images, on_progress, stops)
        return training.fit(name, trainable)

    return Method(name, title, how, defaults, fit, combine)
