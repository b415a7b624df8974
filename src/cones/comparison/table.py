"""The comparison as a whole: its results measured, averaged, and written as a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cones.comparison.entries import ENTRIES
from cones.comparison.markdown import RENDERS, Row, command, page
from cones.comparison.plots import figure
from cones.comparison.runner import MEASURES, CompareConfig, Comparison
from cones.comparison.store import Result
from cones.distributed import ALONE, Processes
from cones.errors import InputError
from cones.evaluation.metrics import mean_and_se
from cones.evaluation.protocol import DEFAULT, Protocol
from cones.files.writing import atomic_write
from cones.methods.outputs import REMEDY
from cones.models.backbone import Backbone
from cones.progress import OnProgress
from cones.sampling.pictures import png_bytes

CONFIG = CompareConfig()


def compare(
    backbone: Backbone,
    subjects: Path,
    out: Path,
    cache: Path,
    config: CompareConfig = CONFIG,
    protocol: Protocol | str = DEFAULT,
    part: tuple[int, int] = (0, 1),
    on_progress: OnProgress | None = None,
    processes: Processes = ALONE,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Compare Cones with its rivals; go on where an earlier comparison stopped.

    After each result the table is written with what there is. Rows of other methods and blocks that
    an earlier run has left in `out` stay in it.

    Args:
        backbone: the base model.
        subjects: a folder of their folders, see `cones.comparison.groups.read_tree`.
        out: the folder of `table.json`, `table.md` and `table.png`.
        cache: the folder of the results, and of the fits that serve in several.
        config: what to compare.
        protocol: how pictures are drawn and compared, or its name.
        part: (i, n) for every n-th result from the i-th on, where n commands share the work.
        on_progress: called with ("compare", results measured, of how many missing ones, {}).
        processes: those of this command; they share its part, and the main one writes the table.
        overwrite: whether another table in `out` may be replaced as a whole.

    Returns:
        What `table.json` holds; the main process alone knows it.

    Raises:
        InputError: as `Comparison` says; a prompt that cannot be drawn; or `out` holds rows of an
            unlike protocol.
    """
    comparison = Comparison(backbone, subjects, cache, config, protocol)
    kept = [] if overwrite else kept_rows(out, comparison)

    def measured(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if processes.is_main:
            write_table(out, comparison, kept)
        if on_progress is not None:
            on_progress(stage, done, total, figures)

    number, count = part
    turns = number * processes.world + processes.rank, count * processes.world
    comparison.run(turns, measured)
    processes.wait()
    return write_table(out, comparison, kept) if processes.is_main else {}


def rows(results: Sequence[Result], planned: Mapping[int, int]) -> list[Row]:
    """Means and standard errors over the groups, a row for each block and method.

    Where the subjects' looks are known, a last row of each block is of fresh renders.

    Args:
        results: of one protocol and one model.
        planned: number of subjects -> groups of that block.

    Raises:
        InputError: the results are of unlike protocols or models.
    """
    for result in results:
        for key in ("protocol", "model"):
            _require_alike(key, results[0]["provenance"], result["provenance"], "the results")
    found = []
    for size in planned:
        of_block = [result for result in results if result["subjects"] == size]
        for method in dict.fromkeys(result["method"] for result in of_block):
            same = [result for result in of_block if result["method"] == method]
            found.append(_row(size, method, same, planned[size]))
        known = [result for result in of_block if result["ceiling"]]
        ceilings = {tuple(result["members"]): result["ceiling"] for result in known}
        if ceilings:
            found.append(_row(size, RENDERS, list(ceilings.values()), planned[size]))
    return found


def _row(size: int, method: str, results: Sequence[Result], planned: int) -> Row:
    row: Row = {"subjects": size, "method": method}
    for key in (*MEASURES, "seconds"):
        values = [result[key] for result in results if result.get(key) is not None]
        row[key], row[f"{key}_se"] = mean_and_se(values) if values else (None, None)
    if row["dino_alignment"] is None:
        del row["dino_alignment"], row["dino_alignment_se"]
    diverged = sum("diverged" in result for result in results)
    return row | {"groups": len(results) - diverged, "planned": planned, "diverged": diverged}


def kept_rows(out: Path, comparison: Comparison) -> list[Row]:
    """Rows of an earlier `table.json` that a comparison is not about, so that they stay in it.

    Raises:
        InputError: the file is no such table, of other subjects or another model, or has such rows
            of an unlike protocol, ...; or there are only the files that belong to it.
    """
    path = out / "table.json"
    if not path.exists():
        for other in (out / "table.md", out / "table.png"):
            if other.exists():
                raise InputError(f"{other}: is there without {path.name}; {REMEDY}")
        return []
    ours = {
        (size, method)
        for size in comparison.planned
        for method in (*comparison.config.methods, RENDERS)
    }
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        listed = [*old["cells"], *old["ceiling"]]
        kept = [row for row in listed if (row["subjects"], row["method"]) not in ours]
        about = {key: old[key] for key in comparison.about}
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path}: is no table of cones compare ({error!r}); remove it, or give another --out"
        ) from error
    if about["subjects"] != comparison.about["subjects"] or _base(about) != _base(comparison.about):
        raise InputError(f"{path}: is of other subjects or of another model; {REMEDY}")
    if kept:
        for key, value in comparison.about.items():
            _require_alike(key, about, {key: value}, str(path))
    return [row for row in kept if row["method"] in (*ENTRIES, RENDERS)]


def _base(about: Mapping[str, Any]) -> object:
    return about["model"].get("base model")


def _require_alike(key: str, one: Mapping[str, Any], two: Mapping[str, Any], where: str) -> None:
    a, b = one[key], two[key]
    if a == b:
        return
    if isinstance(a, dict) and isinstance(b, dict):
        part = next(name for name in {**a, **b} if a.get(name) != b.get(name))
        key, a, b = f"{key}'s {part}", a.get(part), b.get(part)
    raise InputError(
        f"{where}: the {key} differs ({_short(a)} and {_short(b)}), and unlike scores never stand "
        "in one table; give another --out, or remove the older one"
    )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_table(out: Path, comparison: Comparison, kept: Sequence[Row] = ()) -> dict[str, Any]:
    """Write `table.json` and `table.md` with the results that are done, and `table.png`.

    Beside rows of an earlier run the picture stays as it is: only that run could draw them.

    Args:
        out: their folder.
        comparison: whose results.
        kept: of `kept_rows`.

    Returns:
        What `table.json` holds.
    """
    done = comparison.done()
    found = rows([result for _, result in done], comparison.planned) + list(kept)
    order = [*ENTRIES, RENDERS]
    found.sort(key=lambda row: (row["subjects"], order.index(row["method"])))
    table = {
        **comparison.about,
        "cells": [row for row in found if row["method"] != RENDERS],
        "ceiling": [row for row in found if row["method"] == RENDERS],
    }
    drawn, where = None if kept else figure(comparison, done), out / "table.png"
    shown = drawn is not None or where.exists()
    text = page(table, comparison.backbone.name, command(comparison), shown)
    atomic_write(out / "table.json", (json.dumps(table, indent=1) + "\n").encode())
    atomic_write(out / "table.md", text.encode())
    if drawn:
        atomic_write(where, png_bytes(drawn, {}))
    return table
