"""The artifact of all gradient methods, and its file.

An artifact file, `*.safetensors`, is a signed container (`cones.neurons.container`). All tensors
are F16: `embedding.<token>` [d]; `weight.<part>.<parameter>`, where the part is `unet` or
`text_encoder`; `factor.<layer>.down` [r, in] and `factor.<layer>.up` [out, r]. The metadata, all
signed, are `format` = "cones-artifact", `format_version` = "1", `method`, and `subjects`,
`base_model`, `base_fingerprint` and `info` as in a neuron file.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from cones.errors import BaseModelError, BaseModelWarning, ConesError, InputError, warn
from cones.files.writing import atomic_write
from cones.methods.trainable import Factors, check_trainable, embedding_name
from cones.models.backbone import Backbone
from cones.neurons import origin
from cones.neurons.blocks import Block
from cones.neurons.changes import Change
from cones.neurons.concept_neurons import BaseInfo, SubjectInfo, sorted_subjects
from cones.neurons.container import Container, Format, Tensors
from cones.neurons.projections import denoiser
from cones.neurons.shutting import base_fingerprint
from cones.neurons.validation import checked_info, checked_texts

FORMAT = Format(
    "cones-artifact", "1", "a file of `cones fit`", "a file that `cones fit` has written"
)


@dataclass(frozen=True, eq=False)
class TunedWeights:
    """What a gradient method has trained: embeddings, whole parameters, low-rank changes.

    All tensors are rounded to float16 when the object is made, so that what is applied is exactly
    what the file holds.

    Attributes:
        method: its key in `cones.methods.registry.METHODS`.
        subjects: the subjects, by token.
        base: the base model.
        embeddings: token -> its row of the text encoder's embedding, `[d]`.
        weights: `unet.<parameter>` or `text_encoder.<parameter>` -> what takes its place.
        factors: layer of the denoiser -> A `[r, in]` and B `[out, r]`; its weight W becomes W + BA.
        info: where it comes from (configuration, seed, losses, versions).

    Raises:
        InputError: a token of two subjects or of none, factors that do not match.
        ConesError: a value is NaN, or infinite in float16.
    """

    method: str
    subjects: tuple[SubjectInfo, ...]
    base: BaseInfo
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    factors: Mapping[str, Factors] = field(default_factory=dict)
    info: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_texts("the method", self.method)
        vars(self).update(  # the way round `frozen`
            subjects=sorted_subjects(self.subjects),
            embeddings={token: _half(token, row) for token, row in self.embeddings.items()},
            weights={name: _half(name, value) for name, value in self.weights.items()},
            factors={
                layer: (_half(layer, down), _half(layer, up))
                for layer, (down, up) in self.factors.items()
            },
        )
        checked_info(self.info)
        for layer, (down, up) in self.factors.items():
            if not down.dim() == up.dim() == 2 or len(down) != up.shape[1]:
                found = f"{list(down.shape)} and {list(up.shape)}"
                raise InputError(f"{layer}: expected factors [r, in] and [out, r], found {found}")
        for token in self.embeddings.keys() - {subject.token for subject in self.subjects}:
            raise InputError(f"{token}: has an embedding, but is no subject's token")

    def applied(self, backbone: Backbone) -> Block[Backbone]:
        """Put the values into the backbone's models, in place, while the block runs.

        They are restored bit for bit when it ends, by an exception too; all that is said of blocks
        in `cones.neurons.shutting.shut` holds. It costs nothing per step.

        Raises:
            InputError: a token is none of this model's.
            BaseModelError: the artifact is of a model of another layout.

        Warns:
            BaseModelWarning: it is of a model of this layout with other weights.
        """
        return Block(backbone, lambda: self._changes(backbone))

    def nbytes(self) -> int:
        """The size of the artifact file: all values as float16."""
        return len(self.to_bytes())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an artifact file, all or nothing.

        Raises:
            InputError: `path` cannot be written.
        """
        atomic_write(path, self.to_bytes())

    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the file that `save` writes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:16]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TunedWeights":
        """Read an artifact file.

        Raises:
            NeuronFileError: it cannot be read, is of another version, or is damaged.
        """
        return _parsed(FORMAT.load(path), os.fspath(path))

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "artifact") -> "TunedWeights":
        """The artifact of a file with these bytes, which messages call `name`; as `load`."""
        return _parsed(FORMAT.from_bytes(data, name), name)

    def _changes(self, backbone: Backbone) -> list[Change]:
        """Everything to overwrite; nothing is changed before all of it is known to fit."""
        check_trainable(backbone)
        parts: dict[str, nn.Module] = {
            "unet": denoiser(backbone),
            "text_encoder": backbone.pipeline.text_encoder,
        }
        there = {
            f"{part}.{name}": parameter
            for part, module in parts.items()
            for name, parameter in module.named_parameters()
        }

        def change(
            name: str, values: Callable[[Tensor], Tensor], index: Tensor | None = None
        ) -> Change:
            part, _, own_name = name.partition(".")
            return Change(parts[part], own_name, values, index)

        changes = []
        for name, value in self.weights.items():
            self._check(backbone, name, value.shape, there)
            changes.append(change(name, value.to))
        for layer, (down, up) in self.factors.items():
            name = f"unet.{layer}.weight"
            self._check(backbone, name, (len(up), down.shape[1]), there)
            changes.append(change(name, partial(_with_factors, down, up)))
        table = f"text_encoder.{embedding_name(parts['text_encoder'])}"
        nouns = {subject.token: subject.class_noun for subject in self.subjects}
        for token, row in self.embeddings.items():
            backbone.check_token(token, nouns[token])
            self._check(backbone, "embedding", row.shape, {"embedding": there[table][0]})
            (number,) = backbone.token_ids(token)
            index = torch.arange(number * len(row), (number + 1) * len(row))
            changes.append(change(table, row.to, index))
        self._warn_of_other_weights(backbone)
        return changes

    def _check(
        self, backbone: Backbone, name: str, shape: tuple[int, ...], there: Mapping[str, Tensor]
    ) -> None:
        found = tuple(there[name].shape) if name in there else "none"
        if found != tuple(shape):
            raise BaseModelError(
                f"{name}: expected the shape {tuple(shape)} of the artifact's base model "
                f"({self.base.name or 'unknown'}), found {found} in {backbone.name}; load that "
                "base model, or fit the subject in this one"
            )

    def _warn_of_other_weights(self, backbone: Backbone) -> None:
        found = base_fingerprint(backbone)
        if self.base.fingerprint not in ("", found):
            warn(
                f"the {self.method} artifact was fitted in {self.base.name} "
                f"({self.base.fingerprint[:8]}), this model is {backbone.name} ({found[:8]}), of "
                "the same layout but with other weights; fit it again in this one if the subject "
                "is lost",
                BaseModelWarning,
            )

    def _tensors(self) -> dict[str, Tensor]:
        named = {f"embedding.{token}": row for token, row in self.embeddings.items()}
        named |= {f"weight.{name}": value for name, value in self.weights.items()}
        checked_info(self.info)
        for layer, (down, up) in self.factors.items():
            named |= {f"factor.{layer}.down": down, f"factor.{layer}.up": up}
        return named

    def _metadata(self) -> dict[str, str]:
        return {
            "method": self.method,
            **origin.to_metadata((self.subjects, self.base, self.info)),
        }

    def to_bytes(self) -> bytes:
        """The bytes of the artifact file."""
        arrays = {name: value.numpy() for name, value in self._tensors().items()}
        return b"".join(FORMAT.parts(arrays, self._metadata()))


def _parsed(container: Container, name: str) -> TunedWeights:
    """What `to_bytes` was made of."""
    try:
        subjects, base, info = origin.from_metadata(container.metadata)
        of = _by_kind(container.tensors)
        factors: dict[str, Factors] = {
            each: (of["factor"][f"{each}.down"], of["factor"][f"{each}.up"])
            for each in sorted({factor.rpartition(".")[0] for factor in of["factor"]})
        }
        method = container.metadata["method"]
        return TunedWeights(method, subjects, base, of["embedding"], of["weight"], factors, info)
    except KeyError as error:
        raise FORMAT.damaged(name, f"{error.args[0]}: is missing") from error
    except ConesError as error:
        raise FORMAT.damaged(name, error) from error


def _by_kind(tensors: Tensors) -> dict[str, dict[str, Tensor]]:
    """The tensors by the first part of their names, then by the rest."""
    of: dict[str, dict[str, Tensor]] = {"embedding": {}, "weight": {}, "factor": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind not in of or value.dtype != np.float16:
            raise InputError(f"{name}: expected an embedding, weight or factor of F16")
        of[kind][rest] = torch.from_numpy(value.copy())
    return of


def _with_factors(down: Tensor, up: Tensor, weight: Tensor) -> Tensor:
    """W + BA, float32."""
    factors = (each.to(weight.device, torch.float32) for each in (up, down))
    return weight.float() + torch.mm(*factors)


def _half(name: str, value: Tensor) -> Tensor:
    half = value.detach().to("cpu", torch.float16).contiguous()
    if not torch.isfinite(half).all():
        raise ConesError(f"{name}: has values that are NaN or too large for float16; fit it again")
    return half
