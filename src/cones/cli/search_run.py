"""What `cones find` does for a subject, or for several together, once the base model is open."""

import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cones.cli.console import progress
from cones.cli.options import SUFFIX
from cones.cli.reporting import Kind, reporting

if TYPE_CHECKING:
    from cones.distributed import Processes
    from cones.models.backbone import Backbone
    from cones.neurons.concept_neurons import ConceptNeurons
    from cones.sampling.pictures import Picture
    from cones.search.checkpoint import Checkpoint
    from cones.search.config import FindConfig
    from cones.search.prior import ClassImages, DrawnImages
    from cones.subjects.subject import Subject

CHECKPOINT = ".checkpoint.safetensors"


@dataclass(frozen=True)
class SearchRun:
    """What all searches of a command have in common.

    Attributes:
        backbone: the base model.
        config: how to search.
        report_to: where to log.
        logging_dir: folder of the logs.
        validation_prompt: drawn for the log; `{}` stands for the subjects' words.
        processes: those that share the samples of each step; the main one writes.
        overwrite: whether a file may take the place of one that is no older result of its own.
    """

    backbone: "Backbone"
    config: "FindConfig"
    report_to: Kind
    logging_dir: Path
    validation_prompt: str | None
    processes: "Processes"
    overwrite: bool = False

    def identity(
        self,
        subjects: "Sequence[Subject]",
        class_images: "ClassImages | None" = None,
        start: "ConceptNeurons | None" = None,
    ) -> dict[str, Any]:
        """What a search depends on."""
        from cones.search.identity import identity

        return identity(
            "find", self._model, subjects, self.config, class_images, start, self.processes
        )

    @cached_property
    def _model(self) -> dict[str, Any]:
        from cones.search.identity import model_identity

        return model_identity(self.backbone)

    def run(
        self,
        subjects: "Sequence[Subject]",
        path: Path,
        class_images: "ClassImages | None" = None,
        checkpoint: "Checkpoint | None" = None,
        start: "ConceptNeurons | None" = None,
        drawn: "DrawnImages | None" = None,
    ) -> "tuple[ConceptNeurons, float]":
        """Finds neurons, writes their file and logs them.

        Args:
            subjects: one, or several to be searched together.
            path: of the neuron file; it names the log too.
            class_images: images of a class, by its noun; the model draws the others.
            checkpoint: of the search; removed at the end.
            start: neurons to begin with.
            drawn: images of classes that earlier searches let the model draw.

        Returns:
            The neurons, and the seconds that it took.
        """
        from cones.files.locks import claimed
        from cones.files.writing import write_result
        from cones.methods.outputs import check_result
        from cones.neurons.neuronfile import to_bytes
        from cones.search.find import find
        from cones.search.identity import KEY

        started = time.monotonic()
        settings = asdict(self.config)
        own = self.identity(subjects, class_images, start)
        report_to = self.report_to if self.processes.is_main else "none"
        with ExitStack() as stack:
            if self.processes.is_main:
                stack.enter_context(claimed(path))
            check_result(path, own, overwrite=self.overwrite)
            report = stack.enter_context(
                reporting(report_to, self.logging_dir, path.name, settings)
            )
            with progress() as on_progress, resumable(checkpoint):
                neurons = find(
                    self.backbone,
                    subjects,
                    self.config,
                    class_images,
                    report.beside(on_progress),
                    start,
                    checkpoint,
                    self.processes,
                    drawn,
                )
            neurons = replace(neurons, info={**neurons.info, KEY: json.dumps(own)})
            if self.processes.is_main:
                write_result(path, to_bytes(neurons))
            if checkpoint:
                checkpoint.remove()
            seconds = time.monotonic() - started
            report.neurons(neurons)
            if report_to != "none":
                report.pictures(self._validated(subjects, neurons))
        return neurons, seconds

    def _validated(
        self, subjects: "Sequence[Subject]", neurons: "ConceptNeurons"
    ) -> "list[Picture]":
        """Some pictures of the prompt with the neurons shut."""
        from cones.neurons.phrases import fill, join_phrases
        from cones.sampling.generate import generate

        words = join_phrases(each.phrase for each in subjects)
        prompt = fill(self.validation_prompt or "a photo of a {}", words)
        return generate(self.backbone, prompt, range(4), neurons=neurons)


def checkpoint_of(
    path: Path,
    every: int | None,
    resume: str | None,
    written: bool = True,
    overwrite: bool = False,
) -> "Checkpoint | None":
    """Where the search of a neuron file is kept, if it is; `written` by this process or not."""
    from cones.search.checkpoint import STEPS, Checkpoint

    if every is None and resume is None:
        return None
    own = path.with_name(path.name.removesuffix(SUFFIX) + CHECKPOINT)
    file = own if resume in (None, "latest") else Path(str(resume))
    if resume not in (None, "latest") and not file.is_file():
        raise typer.BadParameter(f"--resume_from_checkpoint: there is no file {file}")
    steps = STEPS if every is None else every
    return Checkpoint(file, steps, resume is not None, written, overwrite)


@contextmanager
def resumable(checkpoint: "Checkpoint | None") -> Iterator[None]:
    """Where the search in the block is interrupted, says how it goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if checkpoint is None:
            stop.add_note("nothing is kept of this search; --checkpointing_steps 50 keeps the next")
        elif checkpoint.path.exists():
            resume = [] if checkpoint.resume else ["--resume_from_checkpoint", "latest"]
            stop.add_note(f"go on with: {shlex.join(['cones', *sys.argv[1:], *resume])}")
        raise
