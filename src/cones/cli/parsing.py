"""How the words of a command line are read: names as they are typed, and what was meant by them."""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from cones.cli.config import as_words, read_settings
from cones.cli.hints import COMMANDS, OPTIONS
from cones.cli.values import IN_QUOTES, path

NEURONS = "--neurons"
LISTS = ("--images", "--instance-data-dir", "--train-data-dir", "--blocks", "--methods")
PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".heic", ".heif", ".avif")
TYPED = "cones.typed"  # in a context's `meta`: name of a parameter -> its option as it was typed
CONFIG = "cones.config"  # in a context's `meta`: the files of `--config`
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"  # that text programs make of hyphens


class Command(TyperCommand):
    """A command that remembers how options were typed and says what may have been meant.

    `_` and `-` are the same in options. `--neurons FILE` stands for the argument FILE. An option
    of `LISTS` takes several words, as a shell makes them of `photos/*.png`: all up to the next
    option, or, where a command has arguments too, those that end as photographs do.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options of `--config` and those of the command line, which go first.

        What is no option of this command is refused in the words of who typed it.
        """
        ctx.meta.setdefault(TYPED, {})
        options = options_of(self, ctx)
        arguments: list[str] = []
        words = [*self._options(ctx, options, list(args), arguments)]
        for file in reversed(ctx.meta.pop(CONFIG, [])):
            if not file.strip():
                raise typer.BadParameter(
                    f"{ctx.meta[TYPED]['config']}: expected a path, found {file!r}"
                )
            words = [*self._settings(ctx, options, path(file), arguments), *words]
        return super().parse_args(ctx, [*words, "--", *arguments])

    def _options(
        self, ctx: Any, options: Mapping[str, Any], rest: list[str], arguments: list[str]
    ) -> Iterator[str]:
        """The words of options, without `--config`; those of arguments go to `arguments`."""
        typed = ctx.meta[TYPED]
        while rest:
            word = rest.pop(0)
            if word == "--":
                arguments += rest
                return
            name, equals, value = word.partition("=")
            option = options.get(_plain(name))
            if self._takes_files and _plain(name) == NEURONS:
                arguments.append(value if equals else _value(name, rest, options, ctx))
            elif option is not None and option.name == "config" and not option.is_flag:
                value = value if equals else _value(name, rest, options, ctx)
                typed[option.name] = name
                ctx.meta.setdefault(CONFIG, []).append(value)
            elif option is not None:
                typed[option.name] = name
                if equals and name[:2] != "--":  # else the sign becomes part of the value
                    yield from (name, value)
                else:
                    yield word
                if not (equals or option.is_flag):
                    yield _value(name, rest, options, ctx)
                    while _plain(name) in LISTS and rest and self._goes_on(rest[0]):
                        yield from (name, rest.pop(0))
            elif word.startswith("--") or _plain(f"-{name}") in options or word[:1] in (*DASHES,):
                raise typer.BadParameter(_unknown(name, options, ctx), ctx)
            elif word[:1] == "-" and word != "-":
                yield word  # short options in one word
            else:
                arguments.append(word)

    def _settings(
        self, ctx: Any, options: Mapping[str, Any], file: Path, arguments: list[str]
    ) -> Iterator[str]:
        """The words for what a file sets and nobody typed; its neuron files go to `arguments`."""
        typed, begun = ctx.meta[TYPED], bool(arguments)
        for key, value in read_settings(file).items():
            where = f"{key} in {file}"
            option = options.get(name := f"--{_plain(key)}")
            if self._takes_files and name == NEURONS:
                files = value if isinstance(value, list) else [value]
                if not all(isinstance(each, str) for each in files):
                    raise typer.BadParameter(f"{where}: expected a path or a list of them")
                arguments += [] if begun else files
            elif option is None or option.name in ("config", "help"):
                raise typer.BadParameter(f"{file}: {_unknown(f'--{key}', options, ctx)}", ctx)
            elif option.name not in typed:
                typed[option.name] = where
                yield from as_words(option, value, where)

    @property
    def _takes_files(self) -> bool:
        return any(each.param_type_name == "argument" for each in self.params)

    def _goes_on(self, word: str) -> bool:
        """Whether a word after the first of an option's is one more of them."""
        if self._takes_files:
            return word.lower().endswith(PHOTOGRAPHS)
        return word[:1] != "-"


def options_of(command: Any, ctx: Any) -> dict[str, Any]:
    """The options of a command by each of their names, with hyphens."""
    return {
        _plain(name): each
        for each in command.get_params(ctx)
        if each.param_type_name == "option"
        for name in (*each.opts, *each.secondary_opts)
    }


def unknown_command(name: str, commands: Collection[str]) -> str:
    """The line about a command that there is not."""
    meant = _meant(name.lower(), dict.fromkeys(commands) | COMMANDS)
    return f"there is no command {name!r}{meant or '; there are ' + ', '.join(commands)}"


def refuse_without_effect(ctx: Any, idle: Mapping[str, str]) -> None:
    """Refuses options that were typed though they have no effect: parameter -> when they have."""
    typed = ctx.meta.get(TYPED, {})
    for name in typed.keys() & idle.keys():
        raise typer.BadParameter(f"{typed[name]}: has an effect {idle[name]} only; leave it out")


def as_typed(text: str, options: Mapping[str, Any], typed: Mapping[str, str]) -> str:
    """A line about parameters and options, with the options named as they were typed.

    Args:
        text: it may begin with the name of a parameter, "steps: expected ...".
        options: of `options_of`.
        typed: name of a parameter -> its option as it was typed.
    """
    start, colon, rest = text.partition(":")
    if colon and start in typed:
        text = typed[start] + colon + rest

    def spelled(match: re.Match[str]) -> str:
        option = options.get(_plain(match[0]))
        return typed.get(option.name, match[0]) if option else match[0]

    return re.sub(r"--[a-z_]+", spelled, text)


def usage_line(error: typer.TyperException, typed: Mapping[str, str]) -> str:
    """What is wrong with a command line, from typer's exception."""
    parameter = getattr(error, "param", None)
    if parameter is None:
        message = error.format_message().removeprefix("Invalid value: ")
        if extra := re.match(r"Got unexpected extra argument\(s\) \((.*)\)", message):
            return f"{extra[1]}: is not expected here; give options by their names; {IN_QUOTES}"
        return " ".join(message.split())
    named = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
    name = typed.get(parameter.name, named)
    if hasattr(error, "param_type"):  # it is missing
        return f"{name}: is missing; expected {parameter.help or 'a value'}"
    return f"{name}: {' '.join(error.message.removeprefix('Value error, ').split())}"


def _plain(name: str) -> str:
    return name.replace("_", "-")


def _value(name: str, rest: list[str], options: Mapping[str, Any], ctx: Any) -> str:
    """The word after an option."""
    if not rest or _plain(rest[0].partition("=")[0]) in options:
        found = f"the option {rest[0]}" if rest else "nothing"
        raise typer.BadParameter(f"{name}: expected a value, found {found}", ctx)
    return rest.pop(0)


def _unknown(name: str, options: Mapping[str, Any], ctx: Any) -> str:
    """The line about an option that there is not."""
    bare = _plain(name.lstrip("-" + DASHES))
    if (meant := f"--{bare}") in options and name[:2] != "--":
        return f"{name}: is no option; write --{name.lstrip('-' + DASHES)}"
    if hint := OPTIONS.get(bare.replace("-", "_")):
        return f"{name}: {hint}"
    line = f"there is no option {name} of cones {ctx.info_name}"
    if ctx.parent and (others := _commands_with(meant, ctx.parent)):
        return f"{line}; it is one of {', '.join(others)}"
    names = {name: None for each in options.values() for name in each.opts}
    return line + _meant("--" + bare.replace("-", "_"), names)


def _commands_with(option: str, group: Any) -> list[str]:
    """The commands that have an option."""
    commands = group.command.commands
    return [name for name, each in commands.items() if option in options_of(each, group)]


def _meant(name: str, known: Mapping[str, str | None]) -> str:
    """The end of a line about a wrong name; `known` says which name to use instead of one."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {known[close[0]] or close[0]}?" if close else ""
