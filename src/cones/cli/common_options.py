"""`--config`, `--quiet` and `--verbose`, which every command has."""

import inspect
import logging
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from cones.cli import values

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        parser=values.path,
        metavar="FILE",
        help="TOML or JSON file of options by their names, steps = 100; what is typed goes first",
    ),
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="say nothing but results, warnings and errors")
]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="also what libraries warn of, and where errors arise"),
]


def with_common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options.

    `--quiet` and `--verbose` set the level of the package's log. `--config` is read before, with
    the words of the command line (`cones.cli.parsing`). A command that has an option of one of
    these names keeps its own.
    """
    signature = inspect.signature(command)

    @wraps(command)
    def run(*, quiet: bool, verbose: bool, **given: Any) -> Any:
        if quiet and verbose:
            raise typer.BadParameter("--quiet and --verbose: give one of them")
        if quiet:
            logging.getLogger("cones").setLevel(logging.WARNING)
        if verbose:
            logging.getLogger("cones").setLevel(logging.DEBUG)
            warnings.simplefilter("default")
        return command(**{name: given[name] for name in signature.parameters})

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, default, kind in (
            ("config", None, Config),
            ("quiet", False, Quiet),
            ("verbose", False, Verbose),
        )
        if name not in signature.parameters
    ]
    parameters = [*signature.parameters.values(), *added]
    vars(run)["__signature__"] = signature.replace(parameters=parameters)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
