"""What `cones find` does for a subject, or for several together, once the base model is open."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cones.commands.common import progress
from cones.commands.options import SUFFIX
from cones.commands.reporting import Kind, reporting

if TYPE_CHECKING:
    from cones.backbone import Backbone
    from cones.checkpoint import Checkpoint
    from cones.find import FindConfig
    from cones.neurons import ConceptNeurons
    from cones.objective import ClassImages
    from cones.pictures import Picture
    from cones.processes import Processes
    from cones.subject import Subject

CHECKPOINT = ".checkpoint.safetensors"


@dataclass(frozen=True)
class Searching:
    """What all searches of a command have in common.

    Attributes:
        backbone: the base model.
        config: how to search.
        report_to: where to log.
        logging_dir: folder of the logs.
        validation_prompt: drawn for the log; `{}` stands for the subjects' words.
        processes: those that share the samples of each step; the main one writes.
    """

    backbone: "Backbone"
    config: "FindConfig"
    report_to: Kind
    logging_dir: Path
    validation_prompt: str | None
    processes: "Processes"

    def run(
        self,
        subjects: "Sequence[Subject]",
        path: Path,
        class_images: "ClassImages",
        checkpoint: "Checkpoint | None" = None,
        start: "ConceptNeurons | None" = None,
        info: Mapping[str, str] | None = None,
    ) -> "tuple[ConceptNeurons, float]":
        """Finds neurons, writes their file and logs them.

        Args:
            subjects: one, or several to be searched together.
            path: of the neuron file; it names the log too.
            class_images: images of a class, by its noun; the model draws the others.
            checkpoint: of the search; removed at the end.
            start: neurons to begin with.
            info: what else the file is to say.

        Returns:
            The neurons, and the seconds that it took.
        """
        from cones.find import find

        started = time.monotonic()
        settings = asdict(self.config)
        report_to = self.report_to if self.processes.is_main else "none"
        with reporting(report_to, self.logging_dir, path.name, settings) as report:
            with progress() as on_step:
                neurons = find(
                    self.backbone,
                    subjects,
                    self.config,
                    class_images,
                    report.beside(on_step),
                    start,
                    checkpoint,
                    self.processes,
                )
            neurons = replace(neurons, info={**neurons.info, **(info or {})})
            if self.processes.is_main:
                neurons.save(path)
            if checkpoint:
                checkpoint.remove()
            seconds = time.monotonic() - started
            report.neurons(neurons)
            if report_to != "none":
                report.pictures(self._validated(neurons))
        return neurons, seconds

    def _validated(self, neurons: "ConceptNeurons") -> "list[Picture]":
        """Some pictures of the prompt with the neurons shut."""
        from cones.generate import generate
        from cones.neurons import together

        words = together(each.phrase for each in neurons.subjects)
        prompt = (self.validation_prompt or "a photo of a {}").replace("{}", words)
        return generate(self.backbone, prompt, range(4), neurons=neurons)


def checkpoint_of(
    path: Path, every: int | None, resume: str | None, written: bool = True
) -> "Checkpoint | None":
    """Where the search of a neuron file is kept, if it is; `written` by this process or not."""
    from cones.checkpoint import STEPS, Checkpoint

    if every is None and resume is None:
        return None
    own = path.with_name(path.name.removesuffix(SUFFIX) + CHECKPOINT)
    file = own if resume in (None, "latest") else Path(str(resume))
    if resume not in (None, "latest") and not file.is_file():
        raise typer.BadParameter(f"--resume_from_checkpoint: there is no file {file}")
    return Checkpoint(file, STEPS if every is None else every, resume is not None, written)
