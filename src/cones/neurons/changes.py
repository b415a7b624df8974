"""Overwriting parameters for a while: what was there is kept, and written back as it was."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cones.neurons.projections import bits


class Change:
    """Entries of one parameter that are overwritten, in place, and later restored bit for bit."""

    def __init__(
        self,
        module: nn.Module,
        name: str,
        values: Callable[[Tensor], Tensor],
        index: Tensor | None = None,
    ) -> None:
        """Nothing is overwritten yet.

        Args:
            module: it has the parameter.
            name: of the parameter in the module.
            values: the entries as they are -> as they are to be, of the same shape.
            index: flat positions of the entries, int64 `[n]`; None for all of them, in their shape.
        """
        path, _, self._own_name = name.rpartition(".")
        self._owner = module.get_submodule(path)
        self._parameter = module.get_parameter(name)
        self.name, self._values, self._index = name, values, index
        self._before: Tensor | None = None
        self._address = 0

    def make(self) -> None:
        """Overwrites the entries."""
        data = self._parameter.data
        self._before, self._address = self._read(data), data.data_ptr()
        self._write(data, self._values(self._before))

    def undo(self) -> bool:
        """Writes back what `make` has overwritten, to where the parameter is by now.

        Returns:
            Whether all is as before: False if the parameter was replaced, or if others have changed
            its entries. (Where it was moved or cast meanwhile, that cannot be told.)
        """
        data, before = self._parameter.data, self._before
        if before is None:
            return True
        self._before = None
        if data.is_meta or self._owner._parameters.get(self._own_name) is not self._parameter:
            return False
        moved = data.data_ptr() != self._address or data.dtype != before.dtype
        intact = moved or torch.equal(bits(self._read(data)), bits(self._values(before).to(before)))
        self._write(data, before)
        return intact

    def _read(self, data: Tensor) -> Tensor:
        return data.clone() if self._index is None else data.view(-1)[self._at(data)]

    def _write(self, data: Tensor, values: Tensor) -> None:
        with torch.inference_mode():  # which may write into parameters that were made in it, too
            if self._index is None:
                data.copy_(values)
            else:
                data.view(-1)[self._at(data)] = values.to(data)

    def _at(self, data: Tensor) -> Tensor:
        assert self._index is not None
        return self._index.to(data.device)
