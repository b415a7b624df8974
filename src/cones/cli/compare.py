"""`cones compare`: the published table, on a folder of subjects."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from cones.comparison.runner import Comparison


@opens_model
def compare(
    subjects: Annotated[
        Path,
        options.existing("--subjects", "folder of the subjects' folders, such as robot-1"),
    ],
    methods: Annotated[
        list[str],
        typer.Option(
            "--methods", metavar="NAME", help="methods to compare, one or more", show_default="all"
        ),
    ] = [],  # noqa: B006  (typer copies it)
    blocks: Annotated[
        list[int],
        typer.Option(
            "--blocks",
            parser=values.whole(1),
            metavar="NUMBER",
            help="how many subjects to draw together, one or more numbers",
        ),
    ] = [1, 2, 3, 4],  # noqa: B006
    groups: Annotated[
        int, options.count("--groups", help="groups of subjects for each number of them")
    ] = 8,
    prompts: Annotated[Path | None, options.prompts("built in")] = None,
    num_images: options.NumImages = 4,
    split: Annotated[
        str,
        typer.Option("--split", metavar="I/N", help="part of the work to do, of N commands' one"),
    ] = "1/1",
    cache: Annotated[
        Path | None,
        options.folder("--cache", "folder for the results", "results in --out"),
    ] = None,
    out: Annotated[Path, options.out_folder("folder for table.md, table.json and table.png")] = (
        Path("comparison")
    ),
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    protocol: options.ProtocolName = "toybox",
    clip: options.Clip = None,
    dino: options.Dino = None,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Compare Cones with its rivals on groups of subjects.

    A comparison that was interrupted goes on where it was. The class of robot-1 is robot, or what
    its metadata.jsonl says.
    """
    with waiting(LOADING):
        from cones.comparison import store
        from cones.comparison.runner import CompareConfig, Comparison
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
    part = store.part(split)
    compared_by = named_protocol(protocol, clip, dino, not opening.allow_download)
    opening, cache = replace(opening, device=device), cache or out / "results"
    if dry_run:
        _plan(Comparison(opening.backbone(), subjects, cache, config, compared_by), part, as_json)
        return
    for folder in (cache, out):
        writable_folder(folder)
    backbone = opening.backbone()
    log.info("what is done is kept in %s; an interrupted comparison goes on from there", cache)
    with progress() as on_progress:
        table = measure(
            backbone,
            subjects,
            out,
            cache,
            config,
            compared_by,
            part,
            on_progress,
            processes,
            overwrite,
        )
    if as_json:
        print_json(table)
    elif processes.is_main:
        _print(table, out)
    processes.leave()


def _plan(comparison: "Comparison", part: tuple[int, int], as_json: bool) -> None:
    """Print what would be measured, and what is there already."""
    done = {task.key for task, _ in comparison.done()}
    plan: list[dict[str, Any]] = [
        {
            "subjects": len(task.group),
            "method": task.method,
            "members": [member.name for member in task.group],
            "key": task.key,
            "state": "there" if task.key in done else "to measure",
        }
        for task in comparison.tasks[part[0] :: part[1]]
    ]
    if as_json:
        print_json({"results": plan})
        return
    print_table(
        ["subjects, method", "members", "state"],
        [
            [f"{each['subjects']} {each['method']}", ", ".join(each["members"]), each["state"]]
            for each in plan
        ],
    )
    missing = sum(each["state"] == "to measure" for each in plan)
    tell(f"{missing} to measure, {len(plan) - missing} there")


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
