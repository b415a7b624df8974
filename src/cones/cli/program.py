"""The command line: `cones COMMAND --help` says what each command takes.

Exit status: 0; 1 for an error, said in one line; 2 for wrong usage, said in one line; 130 or 143
when interrupted; 141 when nobody reads what is printed any more.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cones.cli.attention import attention
from cones.cli.combine import combine
from cones.cli.common_options import with_common_options
from cones.cli.compare import compare
from cones.cli.console import log, messages, reason, say, tell
from cones.cli.demo import demo
from cones.cli.evaluate import evaluate
from cones.cli.export import export
from cones.cli.find import find
from cones.cli.fit import fit
from cones.cli.generate import generate
from cones.cli.import_ import import_
from cones.cli.inspect import inspect
from cones.cli.overlap import overlap
from cones.cli.parsing import (
    TYPED,
    Command,
    as_typed,
    options_of,
    unknown_command,
    usage_line,
)
from cones.cli.precision import precision
from cones.cli.tokens import tokens
from cones.cli.tune import tune
from cones.distributed import one_voice, say_failure
from cones.errors import ConesError, is_out_of_memory

MEMORY = (
    "out of memory; use, where the command has them, a smaller --batch, --dtype bfloat16, "
    "--gradient_checkpointing, a smaller --height and --width; or a smaller model"
)


class _Group(TyperGroup):
    """Turns what a user can mend into one line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the options before the command; without one, the help is what is asked for."""
        with _one_line(ctx):
            return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command."""
        if args[0].replace("_", "-") not in self.commands:
            raise typer.BadParameter(unknown_command(args[0], self.commands), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands by what they are for."""
        for title, commands in GROUPS.items():
            names = [_name(each) for each in commands]
            width = formatter.width - 6 - max(map(len, self.commands))
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(10), self.commands[name].get_short_help_str(width))
                        for name in names
                    ]
                )

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        with messages(), _one_line(ctx):
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextmanager
def _one_line(ctx: Any) -> Iterator[None]:
    """Says what goes wrong while the block runs in one line, and exits with its status."""
    try:
        yield
        return
    except typer.TyperException as error:
        line, status = usage_line(error, ctx.meta.get(TYPED, {})), 2
    except BrokenPipeError:  # `cones ... | head`
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise typer.Exit(141) from None
    except (ConesError, OSError) as error:
        log.debug("", exc_info=error)
        line, status = reason(error), 1
    except KeyboardInterrupt as stop:
        line = "; ".join([str(stop) or "interrupted", *getattr(stop, "__notes__", ())])
        status = 143 if stop.args else 130
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        line, status = MEMORY, 1
    if command := ctx.command.commands.get(ctx.invoked_subcommand):
        line = as_typed(line, options_of(command, ctx), ctx.meta.get(TYPED, {}))
    say_failure(say, line)
    raise typer.Exit(status)


app = typer.Typer(
    cls=_Group,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes cut long options off
    # Options are spelled as in diffusers' scripts, `--num_images`; `--num-images` serves too.
    context_settings={
        "token_normalize_func": lambda word: word.replace("_", "-"),
        "help_option_names": ["-h", "--help"],
    },
)
GROUPS = {
    "From photographs to neurons": (find, tune, combine),
    "From neurons to pictures": (generate, export, import_),
    "What neurons are": (inspect, overlap, attention, tokens),
    "How well they draw": (evaluate, precision, fit, compare),
    "A first look": (demo,),
}


def _name(command: Callable[..., None]) -> str:
    return command.__name__.rstrip("_")  # `import` is a word of Python's


for command in (each for group in GROUPS.values() for each in group):
    app.command(_name(command), cls=Command)(with_common_options(command))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        tell(version("cones-diffusion"))
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", help="print it", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Concept neurons: photographs of a subject in, a few kilobytes of indices out.

    Exit status: 0; 1 for an error; 2 for wrong usage; 130 when interrupted; 141 when nobody reads
    what is printed any more.
    """


def main() -> None:
    """The program `cones`, once it is loaded; see `cones.__main__`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it is closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        else:
            stream.reconfigure(errors="backslashreplace")  # what its encoding lacks
    with one_voice():
        app()
