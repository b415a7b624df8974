"""The published table: blocks of one to four subjects by methods, one result a group.

Every (group, method) is one result, kept under a key that is made of all that it depends on, so
that a comparison goes on where it stopped and several processes share it.
"""

import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cones.checks import MAX_SEEDS, check_count, check_some
from cones.comparison.entries import ENTRIES, FitCache, check_entries, provenance
from cones.comparison.groups import Group, design, read_tree
from cones.comparison.store import Result, ResultStore, result_key
from cones.errors import BusyError, ConesError
from cones.evaluation.evaluator import Evaluator
from cones.evaluation.protocol import (
    DEFAULT,
    GENERAL_PROMPTS,
    PROMPTS,
    Protocol,
    as_protocol,
    check_prompts,
)
from cones.models.backbone import Backbone
from cones.progress import OnProgress
from cones.search.identity import model_identity

log = logging.getLogger("cones")

MAX_GROUPS = 1000  # of each block
MEASURES = ("text_alignment", "image_alignment", "dino_alignment", "presence", "drift", "bytes")
SHOWN = 6  # prompts in the figure, which shows the first group of each block


@dataclass(frozen=True)
class CompareConfig:
    """What to compare.

    Attributes:
        methods: of `ENTRIES`, in the order of the table.
        blocks: numbers of subjects drawn together.
        groups: of each block; fewer where there are not so many.
        prompts: templates, `{}` for all subjects of a group, `{other}` for a further thing.
        num_images: pictures of each prompt: seeds from 0 on.
    """

    methods: tuple[str, ...] = tuple(ENTRIES)
    blocks: tuple[int, ...] = (1, 2, 3, 4)
    groups: int = 8
    prompts: tuple[str, ...] = PROMPTS
    num_images: int = 4

    def __post_init__(self) -> None:
        """Refuse numbers that nothing can be compared with."""
        vars(self).update(  # the way round `frozen`
            blocks=tuple(check_count("blocks", size) for size in check_some("blocks", self.blocks)),
            groups=check_count("groups", self.groups, 1, MAX_GROUPS),
            num_images=check_count("num_images", self.num_images, 1, MAX_SEEDS),
        )


@dataclass(frozen=True)
class Task:
    """One result to measure.

    Attributes:
        method: its key in `ENTRIES`.
        number: of the group in its block.
        group: the subjects.
        key: of its result.
    """

    method: str
    number: int
    group: Group
    key: str


class Comparison:
    """All results of one comparison.

    Attributes:
        config: what is compared.
        protocol: how.
        members: all subjects.
        store: the results that are done.
        fits: makes the artifacts.
        about: what results of one table have in common, as plain JSON types.
        tasks: group by group, so that what is done first compares all blocks and methods.
    """

    def __init__(
        self,
        backbone: Backbone,
        subjects: Path,
        cache: Path,
        config: CompareConfig = CompareConfig(),
        protocol: Protocol | str = DEFAULT,
    ) -> None:
        """Read the photographs and list the results to measure; nothing is fitted or drawn yet.

        Args:
            backbone: the base model.
            subjects: a folder of their folders, see `cones.comparison.groups.read_tree`.
            cache: the folder of `table.jsonl`, the results, and of the fits that serve in several.
            config: what to compare.
            protocol: how pictures are drawn and compared, or its name.

        Raises:
            InputError: an unknown method, a folder that cannot be used, too few subjects for a
                block or too many for the tokens, features that cannot be opened, or a protocol that
                is not for this model or these photographs.
        """
        check_entries(config.methods)
        check_prompts(config.prompts)
        protocol = as_protocol(protocol)
        self.backbone, self.config, self.protocol = backbone, config, protocol
        self.members = read_tree(subjects, backbone)
        blocks = {size: design(self.members, size, config.groups) for size in config.blocks}
        self.planned = {size: len(groups) for size, groups in blocks.items()}
        scope = protocol.scope()
        scope.check(backbone, [member.subject.class_noun for member in self.members], ())
        for member in self.members:
            scope.check_folder(member.folder)
        self.about: dict[str, Any] = {
            "protocol": _protocol(protocol, config),
            "model": _model(backbone),
            "subjects": {member.name: member.photos for member in self.members},
            "groups": config.groups,
        }
        self.store = ResultStore(cache / "table.jsonl")
        self.fits = FitCache(backbone, self.about["model"], ResultStore(cache / "fits.jsonl"))
        self._evaluator = lru_cache(maxsize=1)(self._new_evaluator)
        self.tasks = [
            Task(method, number, group, self._key(method, group))
            for number in range(config.groups)
            for groups in blocks.values()
            for group in groups[number : number + 1]
            for method in config.methods
        ]

    def _provenance(self, method: str, group: Group) -> dict[str, Any]:
        members = [
            [
                member.subject.token,
                member.subject.class_noun,
                member.subject.prompts(),
                member.photos,
            ]
            for member in group
        ]
        shared = {key: self.about[key] for key in ("protocol", "model")}
        return {**shared, "members": members, **provenance(method, len(group))}

    def _key(self, method: str, group: Group) -> str:
        label = "-".join([str(len(group)), method, *(member.subject.token for member in group)])
        return result_key(label, self._provenance(method, group))

    def done(self) -> list[tuple[Task, Result]]:
        """The results that are there."""
        found = [(task, self.store.get(task.key)) for task in self.tasks]
        return [(task, result) for task, result in found if result is not None]

    def run(self, part: tuple[int, int] = (0, 1), on_progress: OnProgress | None = None) -> None:
        """Measure the results that are missing.

        Args:
            part: (i, n) for every n-th result from the i-th on, where n processes share the work.
            on_progress: called with ("compare", results measured, of how many missing ones, {}).
        """
        mine = self.tasks[part[0] :: part[1]]
        missing = [task for task in mine if self.store.get(task.key) is None]
        number = 0
        for wait in (0.0, math.inf):  # what another process measures is waited for at the end
            for task in missing:
                with suppress(BusyError), self.store.claimed(task.key, wait):
                    if self.store.get(task.key) is None:
                        self._measure(task)
                        number += 1
                        if on_progress is not None:
                            on_progress("compare", number, len(missing), {})

    def _measure(self, task: Task) -> None:
        result: Result = {
            "subjects": len(task.group),
            "method": task.method,
            "members": [member.name for member in task.group],
            **dict.fromkeys((*MEASURES, "seconds")),
        }
        pictures = []
        # It refuses what cannot be drawn before anything is fitted.
        evaluator = self._evaluator(task.group)
        _ = evaluator.general_features  # so that what fails below is not the base model's fault
        try:
            fitted = ENTRIES[task.method].fit(self.fits, task.group)
            found = evaluator.measure(fitted.artifact.applied(self.backbone))
        except ConesError as error:
            if type(error) is not ConesError:  # what the user gave cannot be used
                raise
            log.warning("%s of %s: %s", task.method, ", ".join(result["members"]), error)
            result["diverged"] = str(error)
        else:
            result |= {
                **found.scores.as_dict(),
                "drift": found.drift,
                "bytes": fitted.artifact.nbytes(),
                "seconds": fitted.seconds,
            }
            pictures = list(found.pictures[:: self.config.num_images])
        result["ceiling"] = evaluator.ceiling.as_dict() if evaluator.ceiling else None
        result["threads"] = torch.get_num_threads()
        shown = pictures[:SHOWN] if task.number == 0 else []
        self.store.put(task.key, result, self._provenance(task.method, task.group), shown)

    def _new_evaluator(self, group: Group) -> Evaluator:
        return Evaluator(
            self.backbone,
            [member.info for member in group],
            [member.folder for member in group],
            self.config.prompts,
            range(self.config.num_images),
            self.protocol,
        )


def _protocol(protocol: Protocol, config: CompareConfig) -> dict[str, Any]:
    """How it is measured, with the prompts and the seeds."""
    return {
        **protocol.as_dict(),
        "prompts": list(config.prompts),
        "general_prompts": list(GENERAL_PROMPTS),
        "seeds": list(range(config.num_images)),
    }


def _model(backbone: Backbone) -> dict[str, Any]:
    """What tells the base model from others, and this package's version."""
    return {
        **model_identity(backbone),
        "precision": backbone.provenance()["precision"],
        "cones": version("cones-diffusion"),
    }
