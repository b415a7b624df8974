"""The fast search's gradient is the paper's, to ten digits."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from reference import One, mask_gradient
from tiny import tiny_pipeline

from cones.models.loading import load_backbone
from cones.search.batches import Batches, StepBatch
from cones.search.config import FindConfig
from cones.search.loop import SearchLoop
from cones.search.objective import ImplantingLoss
from cones.subjects.subject import Examples

CONFIG = FindConfig(batch=3, prior_batch=2, prior_weight=0.7)


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """float64 wherever the package says float32, which it does on purpose."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def implanting(prediction: str, config: FindConfig, checkpointing: bool) -> ImplantingLoss:
    pipeline = tiny_pipeline(prediction=prediction).to(torch.float64)
    backbone = load_backbone(pipeline, gradient_checkpointing=checkpointing)

    def examples(noun: str, seed: int) -> Examples:
        means = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
        states = backbone.encode_prompts([f"a {noun}", f"a photo of a {noun}"])
        return Examples(means, 0.1 * means.abs(), states, ((0, 1),) * 4)

    batches = Batches(backbone, [examples("sks robot", 1)], [examples("robot", 2)], config)
    return ImplantingLoss(batches, config.layers)


def by_reference(
    objective: ImplantingLoss, mask: torch.Tensor, step: int
) -> tuple[float, torch.Tensor]:
    backbone, config = objective.backbone, objective.config
    scheduler = backbone.pipeline.scheduler
    samples = singles(objective.batches.draw(step))
    loss, gradients = mask_gradient(
        backbone.denoiser,
        scheduler.alphas_cumprod,
        objective.unflatten(mask),
        samples[: config.batch],
        samples[config.batch :],
        config.prior_weight,
        bool(config.distill),
        scheduler.config.prediction_type == "v_prediction",
    )
    return loss, torch.cat([gradients[layer].flatten() for layer in objective.shapes])


def singles(sample: StepBatch) -> list[One]:
    batch = sample.batch
    return [
        One(*(each[k : k + 1] for each in (batch.latents, batch.noise, batch.timesteps)),
            batch.states.states[k : k + 1])
        for k in range(len(batch))
    ]  # fmt: skip


def random_mask(objective: ImplantingLoss, strength: float) -> torch.Tensor:
    chance = torch.rand(len(objective.theta), generator=torch.Generator().manual_seed(3))
    return 1 - strength * (chance < 0.2).double()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("distill", [False, True])
@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_fast_gradient_is_that_of_the_plain_reference(
    prediction: str, distill: bool, strength: float, checkpointing: bool
) -> None:
    objective = implanting(prediction, replace(CONFIG, distill=distill), checkpointing)
    assert objective.backbone.denoiser.is_gradient_checkpointing == checkpointing
    mask = random_mask(objective, strength)
    loss, expected = by_reference(objective, mask, step=5)
    steps = SearchLoop(objective, 10, None)
    score = steps.score(objective.theta * mask, 5)
    assert score.dtype == expected.dtype == torch.float64
    assert expected.norm() > 0
    assert (score - expected).norm() <= 1e-10 * expected.norm()
    losses, _ = objective.gradient(objective.theta * mask, 5)
    total = losses["subject"] + CONFIG.prior_weight * losses["prior"]
    assert total.item() == pytest.approx(loss, rel=1e-10)
