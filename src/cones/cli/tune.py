"""`cones tune`: neuron files of one subject or of several in, one with tuned values out."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cones.cli import options
from cones.cli.console import (
    LOADING,
    print_json,
    print_table,
    progress,
    tell,
    waiting,
)
from cones.cli.opening import TOYBOX, Opening, opens_model
from cones.cli.photographs import read_class_images, say_what_is_small, subjects_of

if TYPE_CHECKING:
    from cones.neurons.concept_neurons import ConceptNeurons

TUNED = f"-tuned{options.SUFFIX}"
Files = Annotated[list[Path], options.neuron_files("neuron files, which are united")]
Photographs = Annotated[list[Path], options.images()]
Steps = Annotated[int, options.steps()]
Rate = Annotated[float, options.rate(unit=", in root mean squares of each weight matrix")]
Batch = Annotated[int, options.batch()]


@opens_model
def tune(
    context: typer.Context,
    files: Files,
    images: Photographs,
    precision: Annotated[
        Literal["binary", "quaternary", "float16", "float32"],
        typer.Option(
            "--precision",
            help="type of the tuned values; binary stores none, and only mends the choice",
        ),
    ] = "quaternary",
    steps: Steps = 50,
    rate: Rate = 0.1,
    batch: Batch = 8,
    prior_batch: Annotated[int | None, options.prior_batch("8")] = None,
    prior_weight: Annotated[float | None, options.prior_weight("3.0")] = None,
    prior_images: Annotated[int | None, options.prior_images("16")] = None,
    distill: Annotated[bool | None, options.distill("distill")] = None,
    seed: Annotated[int, options.seed()] = 0,
    class_data_dir: options.ClassDataDir = [],  # noqa: B006  (typer copies it)
    out: Annotated[Path | None, options.out_file(f"TOKEN-NOUN-tuned{options.SUFFIX}")] = None,
    overwrite: options.Overwrite = False,
    mixed_precision: options.MixedPrecision = "no",
    gradient_checkpointing: options.GradientCheckpointing = False,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Give concept neurons tuned values, which draw their subjects better.

    Neurons of several subjects are tuned together, to draw all of them.
    """
    with waiting(LOADING):
        from cones.files.locks import claimed
        from cones.files.writing import write_result
        from cones.methods.outputs import check_result
        from cones.neurons.neuronfile import to_bytes
        from cones.neurons.union import distinct_sets
        from cones.search.config import TuneConfig
        from cones.search.identity import KEY, identity, model_identity
        from cones.search.interference import combine
        from cones.search.tune import tune as tune_neurons

    config = options.given_config(TuneConfig, context.params)
    sets = distinct_sets(files)
    neurons = combine(sets)
    subjects, photos = subjects_of(sets, images)
    class_images = read_class_images(subjects, class_data_dir)
    path = options.output_path(
        out, [subject.phrase for subject in neurons.subjects], f"-tuned{options.SUFFIX}"
    )
    backbone = opening.backbone(mixed_precision, gradient_checkpointing)
    say_what_is_small(photos, backbone)
    own = identity("tune", model_identity(backbone), subjects, config, class_images, neurons)
    started = time.monotonic()
    with claimed(path):
        check_result(path, own, files, overwrite)
        with progress() as on_progress:
            tuned = tune_neurons(backbone, neurons, subjects, config, class_images, on_progress)
        tuned = replace(tuned, info={**tuned.info, KEY: json.dumps(own)})
        write_result(path, to_bytes(tuned))
    _print(tuned, path, time.monotonic() - started, as_json)


def _print(tuned: "ConceptNeurons", path: Path, seconds: float, as_json: bool) -> None:
    from cones.neurons.neuronfile import nbytes
    from cones.neurons.summary import summary

    report, binary = json.loads(tuned.info["report"]), nbytes(replace(tuned, values=None))
    if as_json:
        about = {"file": str(path), **summary(tuned), "bytes_binary": binary}
        print_json({**about, "report": report, "seconds": round(seconds, 1)})
        return
    rows = [
        [
            f"{each.phrase}: loss on {what}",
            *(f"{report[when][each.token][key]:.5f}" for when in ("before", "after")),
        ]
        for each in tuned.subjects
        for what, key in (("the subject", "subject"), ("the rest", "prior"))
    ]
    print_table(["held-out noise", "before", "after"], rows)
    tell(
        f"{len(tuned):,} neurons, strength {tuned.strength:g}, tuned in {seconds:.0f} s",
        f"{path}: {nbytes(tuned):,} bytes, {binary:,} without values",
        f'next: cones generate --neurons "{path}" --prompt "a photo of a {{}} in the snow"',
    )
