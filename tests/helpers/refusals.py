"""What opening a model is refused with."""

import pytest

from cones.errors import InputError
from cones.models.loading import load_backbone


def refusal(model: object, **options: object) -> str:
    """The one line that refuses a model."""
    with pytest.raises(InputError) as error:
        load_backbone(model, **options)  # type: ignore[arg-type]
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)
