"""The package's own errors: one line each, saying what, where, expected, found and what to do."""


class ConesError(Exception):
    """Anything that a user can mend: the command line prints its one line and exits with 1."""


class InputError(ConesError):
    """What the user gave cannot be used: a value, a folder, a model that is not served."""


class NeuronFileError(ConesError):
    """A file is no neuron file, or is damaged, or is of a version that this package cannot read."""


class BaseModelError(ConesError):
    """The neurons belong to a base model of another layout."""


class BaseModelWarning(UserWarning):
    """The neurons belong to a base model of the same layout with other weights: a fine-tune."""
