"""The methods of the comparison: how each makes one artifact for a group of subjects.

Methods that put together what was fitted alone (Textual Inversion as published, Cones) fit each
subject once: the artifact is kept as a file and serves in every group. The others train all
subjects of a group jointly. Their steps grow with the number of subjects and the samples of each
subject in a step shrink with it, so that a subject is seen as often as alone, at least.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from cones.comparison.groups import Group
from cones.comparison.store import Cells
from cones.errors import InputError
from cones.files.locks import claimed
from cones.methods import METHODS
from cones.methods.artifact import Cones, load_artifact
from cones.methods.trained_weights import TunedWeights
from cones.methods.training import RivalConfig
from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.sampling.generate import Artifact
from cones.search.config import TuneConfig
from cones.search.identity import identity
from cones.search.interference import combine
from cones.search.prior import draw_class_images
from cones.search.tune import tune

REVISION = 1  # raise it when a fit gives something else, so that old files are not taken
TUNING = TuneConfig()


@dataclass(frozen=True)
class Fitted:
    """An artifact, and the seconds that it took, without drawing images of the class."""

    artifact: Artifact
    seconds: float


class Fits:
    """Makes the artifacts of one model; those that are small are kept in a folder."""

    def __init__(self, backbone: Backbone, model: Mapping[str, Any], folder: Path) -> None:
        """Nothing is fitted yet.

        Args:
            backbone: the base model.
            model: all that tells it from others, as plain JSON types.
            folder: for the files of what `kept` fits.
        """
        self.backbone, self._model, self._kept = backbone, model, Cells(folder)
        self._class_images: dict[tuple[str, int, int], list[Image.Image]] = {}

    def kept(self, method: str, group: Group) -> Fitted:
        """`together`, or the file of an earlier fit."""
        provenance = {
            "revision": REVISION,
            **identity(
                method,
                self._model,
                [member.subject for member in group],
                settings(method, len(group)),
            ),
        }
        path = self._kept.path("-".join([*(member.name for member in group), method]), provenance)
        file = path.with_suffix(".safetensors")
        with claimed(path, wait=math.inf):  # another process may be fitting it
            if (cell := self._kept.get(path)) is None:
                fitted = self.together(method, group)
                fitted.artifact.save(file)
                cell = {"seconds": fitted.seconds, "provenance": provenance}
                self._kept.put(path, cell)
        return Fitted(load_artifact(file), float(cell["seconds"]))

    def together(self, method: str, group: Group) -> Fitted:
        """Fits all subjects of a group jointly."""
        config = settings(method, len(group))
        images = self.class_images(group, config)
        subjects = [member.subject for member in group]
        start = time.perf_counter()
        artifact = METHODS[method].fit(self.backbone, subjects, config, images)
        return Fitted(artifact, time.perf_counter() - start)

    def class_images(self, group: Group, config: Any) -> dict[str, list[Image.Image]]:
        """Images of each class, as many as a configuration asks for, drawn once."""
        images = {}
        for subject in (member.subject for member in group):
            key = subject.class_noun, config.prior_images, config.seed
            if key not in self._class_images and config.prior_batch:
                self._class_images[key] = draw_class_images(
                    self.backbone, subject, config.prior_images, config.seed
                )
            images[subject.class_noun] = self._class_images.get(key, [])
        return images


def settings(method: str, count: int) -> Any:
    """The configuration of a method for some number of subjects trained jointly."""
    config = METHODS[method].defaults
    if not isinstance(config, RivalConfig):
        return config  # the search itself counts steps for each subject
    share = {name: -(-getattr(config, name) // count) for name in ("batch", "prior_batch")}
    return replace(config, steps=config.steps * count, **share)


def _textual_inversion(fits: Fits, group: Group) -> Fitted:
    alone = [fits.kept("textual_inversion", (member,)) for member in group]
    seconds = sum(each.seconds for each in alone)
    parts = [each.artifact for each in alone if isinstance(each.artifact, TunedWeights)]
    rows = {token: row for part in parts for token, row in part.embeddings.items()}
    return Fitted(
        replace(
            parts[0],
            subjects=tuple(subject for part in parts for subject in part.subjects),
            embeddings=rows,
            info={"merged": " ".join(part.digest() for part in parts)},
        ),
        seconds,
    )


def _union(fits: Fits, group: Group) -> tuple[ConceptNeurons, float]:
    alone = [fits.kept("cones", (member,)) for member in group]
    sets = [each.artifact.neurons for each in alone if isinstance(each.artifact, Cones)]
    return combine(sets), sum(each.seconds for each in alone)


def _cones(fits: Fits, group: Group) -> Fitted:
    neurons, seconds = _union(fits, group)
    return Fitted(Cones(neurons), seconds)


def _cones_joint(fits: Fits, group: Group) -> Fitted:
    return fits.kept("cones", group)


def _cones_tuned(fits: Fits, group: Group) -> Fitted:
    neurons, seconds = _union(fits, group)
    images = fits.class_images(group, TUNING)
    start = time.perf_counter()
    tuned = tune(fits.backbone, neurons, [member.subject for member in group], TUNING, images)
    return Fitted(Cones(tuned), seconds + time.perf_counter() - start)


@dataclass(frozen=True)
class Contestant:
    """One method of the comparison.

    Attributes:
        title: what the table calls it.
        how: what it does with several subjects, for the table's notes.
        settings: its configurations for a number of subjects.
        fit: makes the artifact of a group.
    """

    title: str
    how: str
    settings: Callable[[int], list[Any]]
    fit: Callable[[Fits, Group], Fitted]


def _joint(title: str, method: str) -> Contestant:
    return Contestant(
        title,
        "all subjects trained jointly; steps times their number, samples of each divided by it",
        lambda count: [settings(method, count)],
        lambda fits, group: fits.together(method, group),
    )


CONTESTANTS = {
    "textual_inversion": Contestant(
        "Textual Inversion",
        "embeddings fitted alone, put together",
        lambda _: [settings("textual_inversion", 1)],
        _textual_inversion,
    ),
    "dreambooth": _joint("DreamBooth", "dreambooth"),
    "custom_diffusion": _joint("Custom Diffusion", "custom_diffusion"),
    "lora": _joint("LoRA", "lora"),
    "cones": Contestant(
        "Cones",
        "the union of the neurons found alone; binary, nothing trained",
        lambda _: [settings("cones", 1)],
        _cones,
    ),
    "cones_joint": Contestant(
        "Cones, joint search",
        "one search on the losses of all; binary, nothing trained",
        lambda _: [settings("cones", 1), "joint"],
        _cones_joint,
    ),
    "cones_tuned": Contestant(
        "Cones, tuned",
        f"the union, its values tuned in {TUNING.steps} steps, {TUNING.precision}",
        lambda _: [settings("cones", 1), TUNING],
        _cones_tuned,
    ),
}


def check_methods(methods: Sequence[str]) -> None:
    """Refuses methods that are not known.

    Raises:
        InputError: there is no such method, or one is asked for twice, or none.
    """
    known = ", ".join(CONTESTANTS)
    if not methods:
        raise InputError(f"methods: expected at least one of {known}, found none")
    for method in methods:
        if method not in CONTESTANTS:
            raise InputError(f"method {method!r}: is unknown; expected one of {known}")
        if list(methods).count(method) > 1:
            raise InputError(f"method {method!r}: is given twice; give it once")


def provenance(method: str, count: int) -> dict[str, Any]:
    """All that a method's artifact depends on besides the model and the photographs."""
    configs = CONTESTANTS[method].settings(count)
    plain = [each if isinstance(each, str) else asdict(each) for each in configs]
    return {"revision": REVISION, "method": method, "settings": plain}
