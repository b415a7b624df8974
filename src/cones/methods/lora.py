"""LoRA (arXiv 2106.09685) of the denoiser's attention, by peft, trained as DreamBooth is.

As in diffusers' scripts: the query, key, value and output projections of every attention layer get
a change BA of rank 4, A drawn from a normal distribution and B zero, with alpha = rank.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cones.checks import check_count
from cones.errors import InputError
from cones.methods.gradient import gradient_method
from cones.methods.method import RivalConfig
from cones.methods.trainable import Trainable, trainable_copy
from cones.models.backbone import Backbone
from cones.neurons.blocks import Block
from cones.subjects.subject import Subject

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
DOWN, UP = ".lora_A.default.weight", ".lora_B.default.weight"  # peft's names of A and B
MAX_RANK = 1024


@dataclass(frozen=True, kw_only=True)
class LoraConfig(RivalConfig):
    """How to train.

    Attributes:
        rank: of each change.
    """

    rank: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        super().__post_init__()
        vars(self).update(rank=check_count("rank", self.rank, 1, MAX_RANK))


DEFAULTS = LoraConfig(steps=200, rate=2e-3)


def trainable(backbone: Backbone, _: Sequence[Subject], config: LoraConfig) -> Trainable:
    """The low-rank factors of the attention's projections.

    Raises:
        InputError: peft is not installed.
    """
    adapted = with_adapter(backbone, config.rank)
    unet = first_factors(adapted.denoiser, config)
    return Trainable(unet=unet, factors=factors, adapted=adapted)


def with_adapter(backbone: Backbone, rank: int) -> Backbone:
    """A backbone with peft's layers in a copy of the denoiser.

    Raises:
        InputError: peft is not installed.
    """
    try:
        from peft import LoraConfig as Adapter
        from peft import inject_adapter_in_model
    except ImportError as error:
        raise InputError(
            "lora: needs peft, which is not installed; pip install 'cones-diffusion[lora]'"
        ) from error
    pipeline = copy.copy(backbone.pipeline)
    adapter = Adapter(r=rank, lora_alpha=rank, target_modules=TARGETS)
    with Block(backbone), torch.random.fork_rng():  # peft draws first values, which are not used
        pipeline.unet = inject_adapter_in_model(adapter, copy.deepcopy(backbone.denoiser))
    return replace(backbone, pipeline=pipeline)


def first_factors(adapted: nn.Module, config: LoraConfig) -> dict[str, Tensor]:
    """A of each layer, normal with deviation 1 / rank, and B, zero."""
    generator = torch.Generator().manual_seed(config.seed)
    first = {}
    for name, parameter in adapted.named_parameters():
        if name.endswith(DOWN):
            drawn = torch.randn(parameter.shape, generator=generator) / config.rank
            first[name] = trainable_copy(drawn.to(parameter.device))
        elif name.endswith(UP):
            first[name] = trainable_copy(torch.zeros_like(parameter))
    return first


def factors(parameters: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> (A, B), from peft's parameters by their names."""
    layers = [name.removesuffix(DOWN) for name in parameters if name.endswith(DOWN)]
    return {layer: (parameters[layer + DOWN], parameters[layer + UP]) for layer in layers}


METHOD = gradient_method("lora", "LoRA", DEFAULTS, trainable)
