"""`--report_to`: the figures of a run in TensorBoard or Weights & Biases, through accelerate."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cones.cli import options
from cones.progress import Figures, OnProgress

if TYPE_CHECKING:
    from cones.neurons.concept_neurons import ConceptNeurons
    from cones.sampling.pictures import Picture

Kind = Literal["tensorboard", "wandb", "none"]
ReportTo = Annotated[
    Kind, typer.Option("--report_to", help="where to log losses, densities and pictures")
]
LoggingDir = Annotated[Path, options.folder("--logging_dir", "folder for the logs of --report_to")]


class Report:
    """What is logged, to any number of trackers; to none if it is not wanted."""

    def __init__(self, trackers: Sequence[Any] = ()) -> None:
        """Logs to accelerate's trackers."""
        self._trackers = trackers

    def beside(self, on_progress: OnProgress) -> OnProgress:
        """`on_progress`, and the figures of each step that has some are logged too."""

        def both(stage: str, done: int, total: int, figures: Figures) -> None:
            on_progress(stage, done, total, figures)
            if figures:
                self._log({f"{stage}/{name}": value for name, value in figures.items()}, done)

        return both if self._trackers else on_progress

    def neurons(self, neurons: "ConceptNeurons") -> None:
        """Logs the density of each layer, and the losses on held-out noise before and after."""
        densities = neurons.per_layer_density()
        report = json.loads(neurons.info["report"])
        self._log({f"density/{layer}": density for layer, density in densities.items()}, 0)
        for step, when in enumerate(("before", "after")):
            self._log({f"held out/{name}": loss for name, loss in report[when].items()}, step)

    def pictures(self, pictures: "Sequence[Picture]") -> None:
        """Logs pictures under "validation"."""
        if self._trackers and pictures:
            import numpy as np

            images = {"validation": np.stack([np.asarray(each.image) for each in pictures])}
            for tracker in self._trackers:
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images(images, step=0, **layout)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for tracker in self._trackers:
            tracker.log(dict(values), step=step)


@contextmanager
def reporting(to: Kind, folder: Path, run: str, config: Mapping[str, Any]) -> Iterator[Report]:
    """A report that is closed when the block ends.

    Args:
        to: which tracker.
        folder: of TensorBoard's files; each run has a folder of its own there.
        run: what it is called.
        config: stored with it.

    Raises:
        typer.BadParameter: the tracker is not installed.
    """
    if to == "none":
        yield Report()
        return
    from accelerate import tracking, utils

    there = {"tensorboard": utils.is_tensorboard_available, "wandb": utils.is_wandb_available}
    if not there[to]():
        raise typer.BadParameter(f"--report_to {to}: is not installed; pip install {to}")
    tracker: Any
    if to == "tensorboard":
        tracker = tracking.TensorBoardTracker(run, logging_dir=folder)
    else:
        tracker = tracking.WandBTracker(run, dir=str(folder))
    tracker.start()
    plain = {name: value for name, value in config.items() if value is not None}
    tracker.store_init_configuration(plain)
    try:
        yield Report([tracker])
    finally:
        tracker.finish()
