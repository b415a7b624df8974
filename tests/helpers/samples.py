"""Small models of the kinds that other programs read, and neurons drawn in them by chance."""

from typing import Any

import numpy as np
import torch
from tiny import tiny_pipeline
from tiny_families import tiny_sdxl_pipeline

from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.projections import denoiser, projections, shapes
from cones.neurons.shutting import shut

KINDS = ("sd", "sdxl")


def small_backbone(kind: str) -> Backbone:
    """A Stable Diffusion or an SDXL in float32, with weights that float16 holds, as published ones.

    It has two layers a block, as all of them have.
    """
    from diffusers import UNet2DConditionModel

    pipeline = tiny_sdxl_pipeline() if kind == "sdxl" else tiny_pipeline()
    torch.manual_seed(0)
    config = {**pipeline.unet.config, "layers_per_block": 2, "block_out_channels": (32, 64)}
    pipeline.unet = UNet2DConditionModel.from_config(config).eval()
    for weight in pipeline.unet.parameters():
        weight.data = weight.data.half().float()
    return load_backbone(pipeline)


def drawn(
    backbone: Backbone, token: str = "sks", which: Any = "all", density: float = 0.05
) -> ConceptNeurons:
    """Neurons by chance, the same for the same token."""
    rng = np.random.default_rng(sum(token.encode()))
    sizes = shapes(projections(backbone, which))
    indices = {
        layer: np.flatnonzero(rng.random(rows * columns) < density)
        for layer, (rows, columns) in sizes.items()
    }
    return ConceptNeurons(sizes, indices, subjects=(SubjectInfo(token, "robot"),))


def weights(model: object) -> dict[str, torch.Tensor]:
    """A copy of all weights of a denoiser."""
    return {name: each.clone() for name, each in denoiser(model).state_dict().items()}


def shut_weights(
    model: object, neurons: ConceptNeurons, strength: float | None = None
) -> dict[str, torch.Tensor]:
    """The weights of a denoiser with neurons shut."""
    with shut(model, neurons, strength):
        return weights(model)
