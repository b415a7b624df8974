"""`cones find --subjects_from`: a tree of subjects' folders in, a neuron file for each out."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cones.cli.console import print_json, print_table, reason, say, tell
from cones.cli.options import SUFFIX
from cones.cli.photographs import read_subjects, say_what_is_small
from cones.cli.search_run import SearchRun
from cones.errors import ConesError

if TYPE_CHECKING:
    from cones.distributed import Processes
    from cones.search.checkpoint import Checkpoint
    from cones.search.prior import DrawnImages
    from cones.search.sweep import Task
    from cones.subjects.subject import Subject

Result = dict[str, Any]


def search_tree(
    search: SearchRun,
    todo: "Sequence[Task]",
    out: Path,
    keep: "Callable[[Path], Checkpoint | None]",
    as_json: bool,
    processes: "Processes",
) -> None:
    """Searches for each subject whose neuron file is not there yet.

    One that fails does not stop the others; the exit status tells. Several processes take turns at
    the subjects; the main one says at the end what the others did.

    Args:
        search: how.
        todo: the subjects.
        out: folder of the neuron files.
        keep: where the search of a neuron file is kept.
        as_json: whether to print one JSON object at the end, not a line for each.
        processes: those that share the subjects.
    """
    from cones.search.sweep import deal

    drawn: DrawnImages = {}
    mine: dict[str, Result] = {}
    paths = [out / f"{task.name}{SUFFIX}" for task in todo]
    todo = deal(todo, paths, search.backbone.rare_tokens(2 * len(todo)))
    checkpoints = [keep(path) for path in paths]  # what is wrong with all is said before the first
    share = processes.share()
    for task, path, checkpoint in zip(todo[share], paths[share], checkpoints[share], strict=True):
        result: Result = {"name": task.name, "file": str(path)}
        try:
            result |= _one(search, task, path, drawn, checkpoint)
        except (ConesError, OSError) as error:
            result |= {"state": "failed", "error": reason(error)}
        mine[task.name] = result
        _print(result, as_json)
    done = {name: each for some in processes.gathered(mine) for name, each in some.items()}
    results = [done[task.name] for task in todo]
    for result in results:
        if result["name"] not in mine:
            _print(result, as_json)
    processes.leave()
    _finish(results, as_json)


def list_tree(search: SearchRun, todo: "Sequence[Task]", out: Path, as_json: bool) -> None:
    """Print what `search_tree` would do, and do nothing."""
    from cones.search.sweep import deal

    paths = [out / f"{task.name}{SUFFIX}" for task in todo]
    todo = deal(todo, paths, search.backbone.rare_tokens(2 * len(todo)))
    results = [_planned(search, task, path) for task, path in zip(todo, paths, strict=True)]
    if as_json:
        print_json({"subjects": results})
        return
    shown = ("name", "token", "class_noun", "state", "file")
    print_table(
        ["subject", "token", "class", "state", "file"],
        [[str(each.get(key, each.get("error", ""))) for key in shown] for each in results],
    )


def _planned(search: SearchRun, task: "Task", path: Path) -> Result:
    """What would be done for one subject."""
    result = {"name": task.name, "token": task.token, "file": str(path)}
    try:
        subject = _subject(task)
        done = _is_done(search, subject, path)
    except (ConesError, OSError) as error:
        return result | {"state": "failed", "error": reason(error)}
    count = len(subject.images)
    state = "there" if done else "to find"
    return result | {"class_noun": subject.class_noun, "photographs": count, "state": state}


def _finish(results: Sequence[Result], as_json: bool) -> None:
    """Says how many were found, and exits with 1 if some were not."""
    states = Counter(result["state"] for result in results)
    if as_json:
        counts = {state: states[state] for state in ("found", "there", "failed")}
        print_json({"subjects": results, **counts})
    else:
        tell(f"{states['found']} found, {states['there']} were there, {states['failed']} failed")
    if states["failed"]:
        raise typer.Exit(1)


def _one(
    search: SearchRun,
    task: "Task",
    path: Path,
    drawn: "DrawnImages",
    checkpoint: "Checkpoint | None",
) -> Result:
    """Searches for one subject; images of its class that are drawn serve the next ones too."""
    from cones.neurons.summary import summary

    subject = _subject(task)
    if _is_done(search, subject, path):
        return {"state": "there"}
    subjects, photos = read_subjects([task.folder], [subject.class_noun], [task.token])
    say_what_is_small(photos, search.backbone)
    neurons, seconds = search.run(subjects, path, checkpoint=checkpoint, drawn=drawn)
    report = json.loads(neurons.info["report"])
    return {"state": "found", **summary(neurons), "report": report, "seconds": round(seconds, 1)}


def _subject(task: "Task") -> "Subject":
    from cones.subjects.folders import class_noun
    from cones.subjects.subject import Subject

    return Subject.from_folder(task.folder, class_noun(task.folder), task.token)


def _is_done(search: SearchRun, subject: "Subject", path: Path) -> bool:
    """Whether a neuron file is there that need not be found again."""
    from cones.search.sweep import is_done

    return not search.overwrite and is_done(path, search.identity([subject]))


def _print(result: Result, as_json: bool) -> None:
    if result["state"] == "failed":
        say(f"{result['name']}: {result['error']}")
    elif as_json:
        return
    elif result["state"] == "found":
        tell(
            f"{result['name']}: {result['neurons']:,} neurons, strength {result['strength']:g}, "
            f"found in {result['seconds']:.0f} s; {result['file']}: {result['bytes']:,} bytes"
        )
    else:
        tell(f"{result['name']}: was there; {result['file']}")
