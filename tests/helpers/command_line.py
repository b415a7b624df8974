"""The command line in one process."""

from pathlib import Path

from tiny import tiny_folder
from typer.testing import CliRunner, Result

from cones.cli.program import app

QUICK = ("--steps", "2", "--batch", "2")


def cones(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def passes(*arguments: object) -> Result:
    result = cones(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fails(*arguments: object, status: int = 1) -> str:
    """The one line on stderr about what is wrong."""
    result = cones(*arguments)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("cones: ")


def misused(*arguments: object) -> str:
    """The one line on stderr about wrong usage."""
    return fails(*arguments, status=2)


def of(photos: Path, noun: str = "robot") -> tuple[object, ...]:
    return "--images", photos, "--class_noun", noun, "--model", tiny_folder()


def fast() -> tuple[object, ...]:
    return (*QUICK, "--model", tiny_folder())
