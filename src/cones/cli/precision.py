"""`cones precision`: the paper's Figure 3, neurons at four precisions side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cones.cli import options
from cones.cli.console import (
    LOADING,
    print_json,
    print_table,
    progress,
    protocol_in_words,
    tell,
    waiting,
)
from cones.cli.opening import TOYBOX, Opening, opens_model
from cones.cli.photographs import say_what_is_small, subjects_of
from cones.cli.tune import Batch, Files, Photographs, Rate, Steps
from cones.text import with_error

if TYPE_CHECKING:
    from cones.comparison.precision import PrecisionRow


@opens_model
def precision(
    files: Files,
    images: Photographs,
    prompt: Annotated[list[str], options.prompt("four built in")] = [],  # noqa: B006  (typer copies it)
    num_images: options.NumImages = 2,
    seed: Annotated[int, options.seed()] = 0,
    steps: Steps = 50,
    rate: Rate = 0.1,
    batch: Batch = 8,
    out: options.OutPicture = Path("precision.png"),
    overwrite: options.Overwrite = False,
    mixed_precision: options.MixedPrecision = "no",
    protocol: options.ProtocolName = "toybox",
    clip: options.Clip = None,
    dino: options.Dino = None,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Compare concept neurons tuned at four precisions.

    The same is drawn and measured with each, as in the paper's Figure 3.
    """
    with waiting(LOADING):
        from cones.comparison.precision import PLACES, compare_precisions
        from cones.evaluation import named_protocol
        from cones.files.locks import claimed
        from cones.files.writing import write_result
        from cones.methods.outputs import check_picture
        from cones.neurons.union import distinct_sets
        from cones.search.config import TuneConfig
        from cones.search.interference import combine

    config = TuneConfig(steps=steps, rate=rate, batch=batch, seed=seed)
    measured_by = named_protocol(protocol, clip, dino, not opening.allow_download)
    sets = distinct_sets(files)
    neurons = combine(sets)
    subjects, photos = subjects_of(sets, images)
    out = out / "precision.png" if out.is_dir() else out
    for folder in {path.parent for each in photos for path in each.paths}:
        measured_by.scope().check_folder(folder)
    texts, seeds = prompt or PLACES, range(seed, seed + num_images)
    with claimed(out):
        check_picture(out, "precision", files, overwrite)
        backbone = opening.backbone(mixed_precision)
        say_what_is_small(photos, backbone)
        with progress() as on_progress:
            rows = compare_precisions(
                backbone,
                neurons,
                subjects,
                texts,
                seeds,
                config,
                measured_by,
                on_progress=on_progress,
            )
        write_result(out, _sheet(rows, [f"{text} {number}" for text in texts for number in seeds]))
    if as_json:
        told = {"protocol": measured_by.as_dict(), "rows": [row.as_dict() for row in rows]}
        print_json({"file": str(out), **told})
    else:
        _print(rows, out)
        tell(protocol_in_words(measured_by.as_dict()))


def _sheet(rows: "Sequence[PrecisionRow]", columns: Sequence[str]) -> bytes:
    from cones.sampling.pictures import KIND, contact_sheet, png_bytes

    labels = [f"{row.name} {row.nbytes:,} bytes" if row.neurons else row.name for row in rows]
    sheet = contact_sheet([row.pictures for row in rows], labels, columns)
    return png_bytes(sheet, {KIND: "precision"})


def _print(rows: "Sequence[PrecisionRow]", path: Path) -> None:
    table = [
        [
            row.name,
            f"{row.nbytes:,}",
            with_error(row.scores.text_alignment, row.scores.text_se, ".3f"),
            with_error(row.scores.image_alignment, row.scores.image_se, ".3f"),
        ]
        for row in rows
    ]
    print_table(["precision", "bytes", "text alignment", "image alignment"], table)
    tell(f"look at: {path}")
