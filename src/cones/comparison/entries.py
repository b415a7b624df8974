"""The entries of the comparison: how each makes one artifact for a group of subjects.

Methods that put together what was fitted alone (Textual Inversion as published, Cones) fit each
subject once: the artifact is kept as a file and serves in every group. The others train all
subjects of a group jointly. Their steps grow with the number of subjects and the samples of each
subject in a step shrink with it, so that a subject is seen as often as alone, at least.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from cones.comparison.groups import Group
from cones.comparison.store import ResultStore, result_key
from cones.errors import InputError
from cones.methods.artifact import Cones, load_artifact
from cones.methods.method import Method, RivalConfig
from cones.methods.registry import METHODS
from cones.models.backbone import Backbone
from cones.sampling.artifact import Artifact
from cones.search.config import TuneConfig
from cones.search.identity import identity
from cones.search.prior import draw_class_images
from cones.search.tune import tune

REVISION = 1  # raise it when a fit gives something else, so that old files are not taken
TUNING = TuneConfig()


@dataclass(frozen=True)
class Fitted:
    """An artifact, and the seconds that it took, without drawing images of the class."""

    artifact: Artifact
    seconds: float


class FitCache:
    """Makes the artifacts of one model; those that serve in several groups are kept."""

    def __init__(self, backbone: Backbone, model: Mapping[str, Any], store: ResultStore) -> None:
        """Nothing is fitted yet.

        Args:
            backbone: the base model.
            model: all that tells it from others, as plain JSON types.
            store: for what `kept` fits: the seconds, and a file with the artifact.
        """
        self.backbone, self._model, self._store = backbone, model, store
        self._class_images: dict[tuple[str, int, int], list[Image.Image]] = {}

    def kept(self, name: str, group: Group) -> Fitted:
        """`fit`, or the file of an earlier one."""
        config = joint_config(METHODS[name], len(group))
        subjects = [member.subject for member in group]
        provenance = {"revision": REVISION, **identity(name, self._model, subjects, config)}
        key = result_key("-".join([*(member.name for member in group), name]), provenance)
        file = self._store.file(key, ".safetensors")
        with self._store.claimed(key, wait=math.inf):  # another process may be fitting it
            result = self._store.get(key)
            if result is None or not file.exists():
                fitted = self.fit(name, group)
                fitted.artifact.save(file)
                result = {"seconds": fitted.seconds}
                self._store.put(key, result, provenance)
        return Fitted(load_artifact(file), float(result["seconds"]))

    def fit(self, name: str, group: Group) -> Fitted:
        """Fit all subjects of a group jointly, by the method of this name."""
        method = METHODS[name]
        config = joint_config(method, len(group))
        images = self.class_images(group, config)
        subjects = [member.subject for member in group]
        start = time.perf_counter()
        artifact = method.fit(self.backbone, subjects, config, images)
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


def joint_config(method: Method, count: int) -> Any:
    """The configuration of a method for some number of subjects trained jointly."""
    config = method.defaults
    # The search itself counts its steps for each subject.
    return config.shared(count) if isinstance(config, RivalConfig) else config


@dataclass(frozen=True)
class Entry:
    """One row in each block of the table.

    Attributes:
        name: its key in `ENTRIES`.
        title: what the table calls it.
        how: what it does with several subjects, for the table's notes.
        configs: all configurations that its artifact of so many subjects depends on.
        fit: makes the artifact of a group.
    """

    name: str
    title: str
    how: str
    configs: Callable[[int], list[Any]]
    fit: Callable[[FitCache, Group], Fitted]


def entry(name: str) -> Entry:
    """The entry of a method as it is: what it fits alone is combined, or all is fitted jointly."""

    def configs(count: int) -> list[Any]:
        method = METHODS[name]
        return [joint_config(method, 1 if method.combine else count)]

    def fit(cache: FitCache, group: Group) -> Fitted:
        return _combined(cache, name, group) if METHODS[name].combine else cache.fit(name, group)

    return Entry(name, METHODS[name].title, METHODS[name].how, configs, fit)


def _combined(cache: FitCache, name: str, group: Group) -> Fitted:
    combine = METHODS[name].combine
    assert combine is not None
    alone = [cache.kept(name, (member,)) for member in group]
    seconds = sum(each.seconds for each in alone)
    return Fitted(combine([each.artifact for each in alone]), seconds)


def _joint_search(cache: FitCache, group: Group) -> Fitted:
    return cache.kept("cones", group)


def _tuned(cache: FitCache, group: Group) -> Fitted:
    union = _combined(cache, "cones", group)
    assert isinstance(union.artifact, Cones)
    images = cache.class_images(group, TUNING)
    subjects = [member.subject for member in group]
    start = time.perf_counter()
    tuned = tune(cache.backbone, union.artifact.neurons, subjects, TUNING, images)
    return Fitted(Cones(tuned), union.seconds + time.perf_counter() - start)


ENTRIES = {
    each.name: each
    for each in (
        *(entry(name) for name in METHODS if name != "cones"),
        entry("cones"),
        Entry(
            "cones_joint",
            "Cones, joint search",
            "one search on the losses of all; binary, nothing trained",
            lambda _: [METHODS["cones"].defaults, "joint"],
            _joint_search,
        ),
        Entry(
            "cones_tuned",
            "Cones, tuned",
            f"the union, its values tuned in {TUNING.steps} steps, {TUNING.precision}",
            lambda _: [METHODS["cones"].defaults, TUNING],
            _tuned,
        ),
    )
}


def check_entries(names: Sequence[str]) -> None:
    """Refuse entries that are not known.

    Raises:
        InputError: there is no such entry, or one is asked for twice, or none.
    """
    known = ", ".join(ENTRIES)
    if not names:
        raise InputError(f"methods: expected at least one of {known}, found none")
    for name in names:
        if name not in ENTRIES:
            raise InputError(f"method {name!r}: is unknown; expected one of {known}")
        if list(names).count(name) > 1:
            raise InputError(f"method {name!r}: is given twice; give it once")


def provenance(name: str, count: int) -> dict[str, Any]:
    """All that an entry's artifact depends on besides the model and the photographs."""
    configs = ENTRIES[name].configs(count)
    plain = [each if isinstance(each, str) else asdict(each) for each in configs]
    return {"revision": REVISION, "method": name, "settings": plain}
