"""What a gradient method trains: copies of parameters, and text encoded with them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from cones.errors import InputError
from cones.models.backbone import Backbone
from cones.models.families import StableDiffusion
from cones.neurons.blocks import Block

Factors = tuple[Tensor, Tensor]  # A `[r, in]` and B `[out, r]` of a change BA


@dataclass(frozen=True)
class Trainable:
    """What is trained: copies in float32 that require a gradient.

    Attributes:
        embeddings: token -> its row of the text encoder's embedding, `[d]`.
        unet: parameter of the denoiser, by its full name -> what takes its place.
        text_encoder: the same for the text encoder.
        factors: makes of `unet` the low-rank factors (A, B) of each layer that an artifact has in
            its place; None where `unet` holds parameters as a whole.
        adapted: a backbone in which `unet` are parameters; None for the model itself.
    """

    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    unet: Mapping[str, Tensor] = field(default_factory=dict)
    text_encoder: Mapping[str, Tensor] = field(default_factory=dict)
    factors: Callable[[Mapping[str, Tensor]], Mapping[str, Factors]] | None = None
    adapted: Backbone | None = None

    def all(self) -> list[Tensor]:
        """Every copy."""
        parts = (self.embeddings, self.unet, self.text_encoder)
        return [copy for part in parts for copy in part.values()]

    def weights(self) -> dict[str, Tensor]:
        """The whole parameters, by their names in an artifact; none where there are factors."""
        if self.factors:
            return {}
        parts = {"unet": self.unet, "text_encoder": self.text_encoder}
        return {f"{part}.{name}": copy for part in parts for name, copy in parts[part].items()}


def trainable_copy(tensor: Tensor) -> Tensor:
    """A copy in float32 that requires a gradient."""
    return tensor.detach().to(torch.float32, copy=True).requires_grad_()


def trainable_copies(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of each parameter in float32 that requires a gradient."""
    return {name: trainable_copy(parameter) for name, parameter in parameters.items()}


def check_trainable(backbone: Backbone) -> None:
    """Refuse models that the gradient methods are not written for.

    Raises:
        InputError: it is no Stable Diffusion 1 or 2.
    """
    if type(backbone.family) is not StableDiffusion:
        raise InputError(
            f"{backbone.name}: is a model of {backbone.family.title}; this method serves "
            f"{StableDiffusion.title} only, concept neurons serve every family"
        )


def embedding_of(backbone: Backbone, text: str) -> Tensor:
    """The mean row of the text encoder's embedding over the tokens of a text, `[d]`."""
    table: Tensor = backbone.pipeline.text_encoder.get_input_embeddings().weight
    return table.detach()[backbone.token_ids(text)].float().mean(0)


def text_states(
    backbone: Backbone,
    prompts: Sequence[str],
    embeddings: Mapping[str, Tensor],
    text_parameters: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The text encoder's states of each prompt, differentiable.

    Args:
        backbone: the model, which stays as it is.
        prompts: n of them.
        embeddings: token -> its row `[d]`, in place of the model's own.
        text_parameters: parameters of the text encoder, in place of its own.

    Returns:
        `[n, length, width]`; without embeddings and parameters those of
        `Backbone.encode_prompts`.
    """
    encoder, replaced = backbone.pipeline.text_encoder, dict(text_parameters or {})
    own = encoder.get_input_embeddings().weight
    if embeddings:
        name = embedding_name(encoder)
        table = replaced.get(name, own)
        ids = [backbone.token_ids(token)[0] for token in embeddings]
        rows = torch.stack([row.to(table) for row in embeddings.values()])
        replaced[name] = table.index_put((torch.tensor(ids, device=table.device),), rows)
    replaced = {name: value.to(own.dtype) for name, value in replaced.items()}
    with Block(backbone):  # for the others see the parameters too
        states: Tensor = functional_call(encoder, replaced, (padded_ids(backbone, prompts),))[0]
    return states


def embedding_name(encoder: Any) -> str:
    """The name of a text encoder's embedding among its parameters."""
    table = encoder.get_input_embeddings().weight
    names: list[str] = [name for name, each in encoder.named_parameters() if each is table]
    return names[0]


def padded_ids(backbone: Backbone, prompts: Sequence[str]) -> Tensor:
    """The tokens that the text encoder reads, int64 `[n, length]`, where the encoder is."""
    with Block(backbone):
        tokens = backbone.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=backbone.family.length,
            return_tensors="pt",
        )
    ids: Tensor = tokens.input_ids.to(backbone.pipeline.text_encoder.device)
    return ids
