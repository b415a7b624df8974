"""The package's own errors: one line each, saying what, where, expected, found and what to do."""

import re
import sys
import warnings

from cones.text import printable

_INSIDE = ("cones", "contextlib")  # packages whose frames stand between a fault and its caller

_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|_ALLOC_FAILED|Invalid buffer size"
)


class ConesError(Exception):
    """Anything that a user can mend: the command line prints its one line and exits with 1.

    The message becomes `cones.text.printable`: it may quote what a file or a user says as it is.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class InputError(ConesError):
    """What the user gave cannot be used: a value, a folder, a model that is not served."""


class NeuronFileError(ConesError):
    """A file is no neuron file, or is damaged, or is of a version that this package cannot read."""


class BaseModelError(ConesError):
    """The neurons belong to a base model of another layout."""


class BusyError(ConesError):
    """The model is in use by another thread or task, or a file by another process."""


class BaseModelWarning(UserWarning):
    """The neurons belong to a base model of the same layout with other weights: a fine-tune."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


def warn(message: str, category: type[Warning]) -> None:
    """Warns of something at the line that has called this package, from however deep inside it."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch says that the CPU or a device has no memory left."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's; it need not have been imported
        or bool(_OUT_OF_MEMORY.search(str(error)))
    )
