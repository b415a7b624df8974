"""How the commands speak: results on stdout; notes, progress and errors on stderr."""

import io
import json
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from cones.errors import BaseModelWarning
from cones.progress import Figures, OnProgress
from cones.text import printable

log = logging.getLogger("cones")

MAX_LINE = 1000  # characters of a line of a result, which may hold a path or a prompt
MAX_CELL = 100  # characters in a table
WIDE = 10_000  # a table is as wide as it must be; a narrow terminal breaks its lines
LOADING = "loading torch and diffusers"


def reason(error: Exception) -> str:
    """What the line about a user's error or one of the system says."""
    if isinstance(error, OSError):
        told = error.strerror or str(error)
        return f"{error.filename or 'the input or output'}: {told}; check the path, its rights"
    return str(error)


def say(text: str) -> None:
    """Prints a line for people to stderr."""
    typer.echo(printable(f"cones: {text}"), err=True)


def tell(*lines: object) -> None:
    """Prints lines of a result to stdout."""
    for line in lines:
        typer.echo(printable(line, MAX_LINE))


def protocol_in_words(told: Mapping[str, Any]) -> str:
    """A protocol's name, version and networks: scores by others are not comparable."""
    return f"protocol {told['name']} {told['version']}, features {told['features']}"


def print_json(value: object) -> None:
    """Prints a value for machines to stdout, in ASCII: any encoding holds it."""
    typer.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table to stdout: the first column to the left, the others to the right."""
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(printable(cell, MAX_CELL) for cell in row))
    text = io.StringIO()
    Console(file=text, width=WIDE, markup=False, highlight=False).print(table)
    typer.echo(text.getvalue(), nl=False)  # a console exits in its own way where a pipe is broken


def print_layers(about: Mapping[str, Any]) -> None:
    """Prints the layers of `cones.neurons.summary.summary` to stdout."""
    rows = [
        [
            name,
            "x".join(map(str, layer["shape"])),
            f"{layer['neurons']:,}",
            f"{layer['density']:.2%}",
        ]
        for name, layer in about["layers"].items()
    ]
    print_table(["layer", "shape", "neurons", "density"], rows)


def waiting(what: str) -> AbstractContextManager[object]:
    """A spinner on stderr for what takes seconds and has no steps; none with --quiet."""
    return Console(stderr=True, quiet=_is_quiet()).status(Text(printable(what)))


@contextmanager
def progress() -> Iterator[OnProgress]:
    """Bars on stderr with a rate and an estimate, one for each stage; none with --quiet.

    Yields:
        What to call with (stage, done, total, figures).
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),  # else it is cut first
        TextColumn("{task.fields[pace]}"),
        TextColumn("{task.fields[figures]}"),
    )
    bars = Progress(*columns, console=Console(stderr=True, quiet=_is_quiet()))
    tasks: dict[str, tuple[TaskID, float]] = {}
    latest = time.monotonic()

    def on_progress(stage: str, done: int, total: int, figures: Figures) -> None:
        nonlocal latest
        if not tasks:
            bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task(printable(stage), pace="", figures=""), latest
        task, began = tasks[stage]
        latest = time.monotonic()
        shown = "  ".join(f"{name} {figure:.3g}" for name, figure in figures.items())
        pace = _pace(done, total, latest - began)
        bars.update(task, completed=done, total=total, pace=pace, figures=shown)

    try:
        yield on_progress
    finally:
        if tasks:
            bars.stop()


def _pace(done: int, total: int, seconds: float) -> str:
    """The rate of a stage so far, and the time that it will still take or has taken."""
    each = seconds / done
    rate = f"{each:.1f} s each" if each > 1 else f"{1 / max(each, 1e-6):.1f}/s"
    span = timedelta(seconds=round(each * (total - done) if done < total else seconds))
    return f"{rate}, {span} {'left' if done < total else 'in all'}"


@contextmanager
def messages() -> Iterator[None]:
    """While the block runs, warnings and the package's log are one line each; others are silent."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # read when they are imported
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    handler, level = _Handler(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", BaseModelWarning)
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _is_quiet() -> bool:
    return not log.isEnabledFor(logging.INFO)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record as one line, after its level if it is more than a note."""
        if record.exc_info:  # `--verbose` asks where an error arose
            typer.echo(self.format(record), err=True)
        else:
            level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            say(level + record.getMessage())
