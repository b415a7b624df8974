"""`--quiet` and `--verbose`, which every command has."""

import inspect
import logging
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="say nothing but results, warnings and errors")
]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="also what libraries warn of, and where errors arise"),
]


def with_verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with both options; they set the level of the package's log."""

    @wraps(command)
    def run(*, quiet: bool, verbose: bool, **given: Any) -> Any:
        if quiet and verbose:
            raise typer.BadParameter("--quiet and --verbose: give one of them")
        if quiet:
            logging.getLogger("cones").setLevel(logging.WARNING)
        if verbose:
            logging.getLogger("cones").setLevel(logging.DEBUG)
            warnings.simplefilter("default")
        return command(**given)

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", Quiet), ("verbose", Verbose))
    ]
    signature = inspect.signature(command)
    parameters = [*signature.parameters.values(), *added]
    vars(run)["__signature__"] = signature.replace(parameters=parameters)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
