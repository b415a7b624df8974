"""What a method makes of photographs, as far as drawing needs it: neurons, or a rival's weights."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import SubjectInfo


@runtime_checkable
class Artifact(Protocol):
    """What any method of `cones.methods` makes of a subject's photographs."""

    @property
    def method(self) -> str:
        """The method's name."""
        ...

    @property
    def subjects(self) -> tuple[SubjectInfo, ...]:
        """The subjects, by token."""
        ...

    @property
    def info(self) -> Mapping[str, str]:
        """Where it comes from: configuration, seed, report, versions."""
        ...

    def applied(self, backbone: Backbone) -> AbstractContextManager[Backbone]:
        """The backbone, changed in place; restored bit for bit when the block ends."""
        ...

    def nbytes(self) -> int:
        """The size of the file that `save` writes."""
        ...

    def to_bytes(self) -> bytes:
        """That file."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes its file, all or nothing."""
        ...

    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of that file."""
        ...
