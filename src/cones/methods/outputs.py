"""What may take the place of a file: a newer result of the same subject, nothing else unasked."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from cones.errors import ConesError, InputError
from cones.methods.artifact import load_artifact
from cones.sampling.pictures import kind_of
from cones.search.identity import KEY, Identity, differences, foreign, read_identity

log = logging.getLogger("cones")

REMEDY = "name another --out, or add --overwrite to replace it"


def check_result(
    path: Path, own: Identity, inputs: Iterable[Path] = (), overwrite: bool = False
) -> None:
    """Refuse to replace what is no older result of the same subject; say so if it is one.

    Args:
        path: of a neuron file or another artifact.
        own: of what is to be written there.
        inputs: files that are read.
        overwrite: whether anything may be replaced.

    Raises:
        InputError: it may not.
    """
    if overwrite or not os.path.lexists(path):
        return
    _check_inputs(path, inputs)
    try:
        found = read_identity(load_artifact(path).info.get(KEY, ""))
    except ConesError as error:
        raise InputError(f"{path}: is there, and no result of this command; {REMEDY}") from error
    if other := foreign(found, own):
        raise InputError(f"{path}: is another result: {other}; {REMEDY}")
    if told := differences(found, own):
        log.warning("%s: all begins anew, and replaces an older result: %s", path, told)


def check_picture(
    path: Path, kind: str, inputs: Iterable[Path] = (), overwrite: bool = False
) -> None:
    """Refuse to replace what is no picture of this `kind`, see `png_bytes` of `cones.sampling`.

    Args:
        path: of a PNG file.
        kind: what it is to show.
        inputs: files that are read.
        overwrite: whether anything may be replaced.

    Raises:
        InputError: it may not be replaced.
    """
    if overwrite or not os.path.lexists(path):
        return
    _check_inputs(path, inputs)
    if kind_of(path) != kind:
        raise InputError(f"{path}: is there, and no picture of this command; {REMEDY}")


def _check_inputs(path: Path, inputs: Iterable[Path]) -> None:
    if any(each.exists() and path.exists() and each.samefile(path) for each in inputs):
        raise InputError(f"{path}: is one of the files that are read; {REMEDY}")
