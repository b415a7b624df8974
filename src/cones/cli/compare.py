"""`cones compare`: the published table, on a folder of subjects."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cones.cli import options, values
from cones.cli.console import (
    LOADING,
    log,
    print_json,
    print_table,
    progress,
    protocol_in_words,
    tell,
    waiting,
)
from cones.cli.opening import TOYBOX, Opening, opens_model
from cones.cli.parsing import Command

SUBJECTS = Path("examples/subjects/test")


class Lists(Command):
    """Takes `--blocks 1 2` for `--blocks 1 --blocks 2`."""

    lists = ("--blocks", "--methods")


@opens_model
def compare(
    subjects: Annotated[
        Path | None,
        options.existing(
            "--subjects",
            "folder of the subjects' folders; robot-1 is a robot, or as metadata.jsonl tells",
            f"{SUBJECTS}, where there is one",
        ),
    ] = None,
    methods: Annotated[
        list[str], typer.Option(help="to compare, several at once", show_default="all")
    ] = [],  # noqa: B006  (typer copies it)
    blocks: Annotated[
        list[int], typer.Option(help="numbers of subjects drawn together, several at once")
    ] = [1, 2, 3, 4],  # noqa: B006
    groups: Annotated[
        int,
        typer.Option(
            "--groups",
            parser=values.whole(1),
            help="groups of subjects in each block",
        ),
    ] = 8,
    prompts: Annotated[Path | None, options.prompts("built in")] = None,
    num_images: options.NumImages = 4,
    split: Annotated[
        str, typer.Option(help="i/n: measure the i-th of n parts, by n commands")
    ] = "1/1",
    cache: Annotated[Path, options.folder("--cache", "folder of what is done")] = Path(
        "runs/table"
    ),
    out: Annotated[Path, options.out_folder("folder of table.md, .json and .png")] = Path("docs"),
    overwrite: options.Overwrite = False,
    protocol: options.ProtocolName = "toybox",
    clip: options.Clip = None,
    dino: options.Dino = None,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Compare Cones with its rivals on groups of subjects; goes on where it was interrupted."""
    with waiting(LOADING):
        from cones.comparison import store
        from cones.comparison.runner import CompareConfig
        from cones.comparison.table import compare as measure
        from cones.distributed import joined
        from cones.evaluation import named_protocol
        from cones.files.textfiles import read_prompts
        from cones.files.writing import writable_folder

        processes, device = joined(opening.device)
    config = CompareConfig(
        **({"methods": tuple(methods)} if methods else {}),
        **({"prompts": tuple(read_prompts(prompts))} if prompts else {}),
        blocks=tuple(blocks),
        groups=groups,
        num_images=num_images,
    )
    part, compared_by = (
        store.part(split),
        named_protocol(protocol, clip, dino, not opening.allow_download),
    )
    tree = _tree(subjects)
    for folder in (cache, out):
        writable_folder(folder)
    backbone = replace(opening, device=device).backbone()
    log.info("what is done is kept in %s; an interrupted comparison goes on from there", cache)
    with progress() as on_progress:
        table = measure(
            backbone, tree, out, cache, config, compared_by, part, on_progress, processes, overwrite
        )
    if as_json:
        print_json(table)
    elif processes.is_main:
        _print(table, out)
    processes.leave()


def _tree(given: Path | None) -> Path:
    if given is None and not SUBJECTS.is_dir():
        raise typer.BadParameter(f"there is no {SUBJECTS} here: give --subjects")
    return given or SUBJECTS


def _print(table: dict[str, Any], out: Path) -> None:
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    names = ("text_alignment", "image_alignment", "presence", "drift")
    rows = [
        [
            f"{row['subjects']} {row['method']}",
            *(shown(row[name]) for name in names),
            "-" if row["bytes"] is None else f"{row['bytes']:,.0f}",
            f"{row['groups']} of {row['planned']}",
        ]
        for row in table["cells"]
    ]
    columns = ["subjects, method", *(name.replace("_", " ") for name in names), "bytes", "groups"]
    print_table(columns, rows)
    tell(protocol_in_words(table["protocol"]), f"look at: {out / 'table.md'}")
