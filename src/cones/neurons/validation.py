"""The arrays that concept neurons consist of: what may stand in them."""

from collections.abc import Mapping

import numpy as np

from cones.errors import InputError
from cones.neurons.codec import Indices
from cones.neurons.quaternary import Values


def checked_texts(what: str, *texts: str) -> None:
    """Refuses what no file could hold.

    Raises:
        InputError: one is no text, or not of Unicode (half of a surrogate pair).
    """
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"{what}: expected a text, found {text!r}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{what}: expected a text of Unicode, found {text!r}") from error


def checked_info(info: Mapping[str, str]) -> dict[str, str]:
    """Information about where a result comes from, by its key.

    Raises:
        InputError: it is no mapping from texts to texts.
    """
    if not isinstance(info, Mapping):
        raise InputError(f"info: expected a mapping from texts to texts, found {info!r}")
    for key, text in info.items():
        checked_texts(f"info {key}", key, text)
    return dict(sorted(info.items()))


def checked_shape(layer: str, shape: tuple[int, int]) -> tuple[int, int]:
    """The shape (out, in) of a layer's weight.

    Raises:
        InputError: it is no shape of a matrix.
    """
    if len(shape) != 2 or min(shape) < 1:
        raise InputError(f"{layer}: expected the shape (out, in) of a matrix, found {shape}")
    return int(shape[0]), int(shape[1])


def checked_indices(layer: str, given: Indices, size: int) -> Indices:
    """A layer's indices, int64 [count]: read-only, a copy unless they were.

    Args:
        layer: its name, for messages.
        given: whole numbers of any type, `[count]`.
        size: the number of the layer's weights, which the indices are below.

    Raises:
        InputError: they are no integers, not in strictly increasing order, or out of range.
    """
    array = np.asarray(given)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(
            f"{layer}: expected indices as a vector of integers, found {array.dtype} "
            f"{list(array.shape)}; of a mask, take numpy.flatnonzero"
        )
    index = array.astype(np.int64, copy=array.flags.writeable)
    if len(index) and not 0 <= index.min() <= index.max() < size:
        outside = index[(index < 0) | (index >= size)][0]
        raise InputError(f"{layer}: expected indices from 0 to {size - 1}, found {outside}")
    back = index[1:] <= index[:-1]
    if back.any():
        at = int(np.argmax(back))
        found = f"{index[at]} before {index[at + 1]}"
        raise InputError(
            f"{layer}: expected unique indices in order, found {found}; take numpy.unique"
        )
    index.setflags(write=False)
    return index


def checked_values(
    given: Mapping[str, Values], indices: Mapping[str, Indices]
) -> dict[str, Values]:
    """Read-only copies of the values, float32 [count], for each layer in `indices`.

    Raises:
        InputError: there is not one finite value for each index.
    """
    values = {}
    for layer, index in indices.items():
        array = np.array(given.get(layer, ()), dtype=np.float32)
        if array.shape != index.shape:
            expected = f"a value for each of {len(index)} neurons"
            raise InputError(f"{layer}: expected {expected}, found {list(array.shape)}")
        if not np.isfinite(array).all():
            raise InputError(f"{layer}: expected finite values, found NaN or infinity; tune again")
        array.setflags(write=False)
        values[layer] = array
    return values
