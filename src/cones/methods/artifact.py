"""What fitting a subject gives, whatever the method, and its files."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from cones.methods.trained_weights import FORMAT, TunedWeights
from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.container import format_name
from cones.neurons.neuronfile import load, nbytes, neurons_hash, to_bytes
from cones.neurons.shutting import shut
from cones.sampling.artifact import Artifact

__all__ = ["Artifact", "Cones", "TunedWeights", "load_artifact"]


@dataclass(frozen=True)
class Cones:
    """Concept neurons as an artifact: applied, they are shut at the strength they recommend.

    Attributes:
        neurons: of one subject or of several.
    """

    neurons: ConceptNeurons

    @property
    def method(self) -> str:
        """`cones`, or `cones_tuned` where the neurons have values."""
        return "cones" if self.neurons.values is None else "cones_tuned"

    @property
    def subjects(self) -> tuple[SubjectInfo, ...]:
        """The subjects, by token."""
        return self.neurons.subjects

    @property
    def info(self) -> Mapping[str, str]:
        """Where the neurons come from."""
        return self.neurons.info

    def applied(self, backbone: Backbone) -> AbstractContextManager[Backbone]:
        """The backbone with the neurons shut; see `cones.neurons.shutting.shut`."""
        return shut(backbone, self.neurons)

    def nbytes(self) -> int:
        """The size of the neuron file."""
        return nbytes(self.neurons)

    def to_bytes(self) -> bytes:
        """The bytes of the neuron file."""
        return to_bytes(self.neurons)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a neuron file."""
        self.neurons.save(path)

    def digest(self) -> str:
        """`cones.neurons.neuronfile.file_hash` of the file that `save` writes."""
        return neurons_hash(self.neurons)


def with_info(artifact: Artifact, more: Mapping[str, str]) -> Artifact:
    """An artifact that says more about where it comes from."""
    if isinstance(artifact, Cones):
        neurons = artifact.neurons
        return Cones(replace(neurons, info={**neurons.info, **more}))
    if isinstance(artifact, TunedWeights):
        return replace(artifact, info={**artifact.info, **more})
    raise TypeError(f"{type(artifact).__name__}: has no file")


def load_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Read what any method has saved: a neuron file or an artifact file.

    Raises:
        NeuronFileError: there is no such file, it is neither, of a newer version or damaged.
    """
    if format_name(path) == FORMAT.name:
        return TunedWeights.load(path)
    return Cones(load(path))  # which says what is wrong with a file that is neither
