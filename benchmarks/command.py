"""The command line that the measurements with kept results have in common."""

import argparse
from pathlib import Path

from cones.comparison import store
from cones.errors import InputError

RESULTS = Path(__file__).parent / "results"


def arguments(
    module: str, description: str | None, writes: str, subjects: Path
) -> argparse.ArgumentParser:
    """A parser of `--out`, `--subjects`, `--model`, `--split` and `--cache`.

    Args:
        module: the measurement's name under `benchmarks`.
        description: its docstring.
        writes: the names of the files that it writes.
        subjects: the default folder of the subjects' folders.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=description)
    parser.add_argument("--out", type=Path, required=True, help=f"folder that gets {writes}")
    parser.add_argument("--subjects", type=Path, default=subjects, help="a folder of their folders")
    parser.add_argument("--model", default="toybox", help="as for the cones command")
    parser.add_argument("--split", type=_part, default=(0, 1), help="i/n: do the i-th of n parts")
    parser.add_argument("--cache", type=Path, default=RESULTS, help="folder of what is done")
    return parser


def complete(missing: int) -> bool:
    """Whether all results are there; says so where they are not."""
    if missing:
        print(f"{missing} results are left to other parts; no report is written yet")
    return not missing


def _part(text: str) -> tuple[int, int]:
    try:
        return store.part(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
