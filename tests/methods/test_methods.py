"""The rivals on a tiny random model: each trains what it says, and trainable no trace."""

import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline

from cones.errors import ConesError, InputError
from cones.methods import custom_diffusion, dreambooth, lora, registry, textual_inversion
from cones.methods.artifact import Cones, TunedWeights
from cones.methods.method import RivalConfig
from cones.methods.trainable import Trainable, text_states, trainable_copy
from cones.methods.training import Training
from cones.models.backbone import Backbone
from cones.models.families import Conditioning
from cones.models.loading import load_backbone
from cones.subjects.subject import Subject

QUICK = {"steps": 8, "batch": 3, "prior_images": 2}
RATES = {textual_inversion: 0.1, dreambooth: 1e-3, custom_diffusion: 1e-2, lora: 1e-2}
RIVALS = list(RATES)


@cache
def tiny() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny()


def photos(seed: int) -> tuple[Image.Image, ...]:
    rng = np.random.default_rng(seed)
    return tuple(Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(2))


ROBOT = Subject(photos(0), "robot", "sks")
MUG = Subject(photos(1), "mug", "zas")
CLASS = {"robot": photos(2), "mug": photos(3)}


def quick(rival: ModuleType, **changes: object) -> RivalConfig:
    settings = {**QUICK, "rate": RATES[rival], **changes}
    config: RivalConfig = replace(rival.DEFAULTS, **settings)
    return config


def fit(
    rival: ModuleType, backbone: Backbone, *subjects: Subject, **changes: object
) -> TunedWeights:
    artifact: TunedWeights = rival.METHOD.fit(
        backbone, list(subjects or [ROBOT]), quick(rival, **changes), CLASS
    )
    return artifact


@cache
def fitted(rival: ModuleType) -> TunedWeights:
    """The robot, fitted once."""
    return fit(rival, tiny())


def state(backbone: Backbone) -> dict[str, torch.Tensor]:
    parts = {"unet": backbone.denoiser, "text_encoder": backbone.pipeline.text_encoder}
    return {
        f"{part}.{name}": value.clone()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@contextmanager
def unchanged(backbone: Backbone) -> Iterator[dict[str, torch.Tensor]]:
    before = state(backbone)
    yield before
    assert not changed(before, state(backbone))


@pytest.mark.parametrize("rival", RIVALS)
def test_a_fit_lowers_its_loss_and_leaves_no_trace(backbone: Backbone, rival: ModuleType) -> None:
    with unchanged(backbone):
        artifact = fit(rival, backbone)
    report = json.loads(artifact.info["report"])
    assert report["after"]["subject"] < report["before"]["subject"]
    assert ("prior" in report["after"]) == (rival is not textual_inversion)
    assert registry.METHODS[artifact.method] is rival.METHOD
    assert [(s.token, s.class_noun) for s in artifact.subjects] == [("sks", "robot")]
    assert json.loads(artifact.info["config"])["steps"] == 8


@pytest.mark.parametrize("rival", RIVALS)
def test_an_applied_artifact_changes_what_it_trained_and_nothing_else(
    backbone: Backbone, rival: ModuleType
) -> None:
    artifact = fitted(rival)
    with unchanged(backbone) as before, artifact.applied(backbone) as inside:
        assert inside is backbone
        found = changed(before, state(backbone))
    (table,) = (name for name in before if "token_embedding" in name)
    unet = {name for name in before if name.startswith("unet.")}
    attention = {
        name
        for name in unet
        if name.endswith(("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight"))
    }
    expected = {
        textual_inversion: {table},
        dreambooth: unet,
        custom_diffusion: {n for n in unet if "attn2.to_k" in n or "attn2.to_v" in n} | {table},
        lora: attention,
    }
    assert found == expected[rival]


def test_textual_inversion_changes_only_the_rows_of_its_tokens(backbone: Backbone) -> None:
    artifact = fit(textual_inversion, backbone, ROBOT, MUG, steps=1)
    table = backbone.pipeline.text_encoder.get_input_embeddings().weight
    before = table.clone()
    with artifact.applied(backbone):
        rows = (table != before).any(1).nonzero().flatten().tolist()
    assert rows == sorted(backbone.token_ids("sks") + backbone.token_ids("zas"))


@pytest.mark.parametrize("rival", RIVALS)
def test_one_seed_gives_one_file(backbone: Backbone, rival: ModuleType) -> None:
    first, again, other = (fit(rival, backbone, steps=2, seed=seed) for seed in (5, 5, 6))
    assert first.digest() == again.digest() != other.digest()


@pytest.mark.parametrize("rival", RIVALS)
def test_several_subjects_are_fitted_together(backbone: Backbone, rival: ModuleType) -> None:
    artifact = fit(rival, backbone, MUG, ROBOT, steps=1)
    assert [subject.token for subject in artifact.subjects] == ["sks", "zas"]
    training = Training(backbone, [MUG, ROBOT], quick(rival), CLASS)
    latents = training._batch(Trainable(), 0).latents  # three of each subject, then of each class
    assert len(latents) == 6 + (0 if rival is textual_inversion else 8)
    for number, subject in enumerate((MUG, ROBOT)):
        own = backbone.encode_images(subject.images)[0]
        for latent in latents[3 * number : 3 * number + 3]:
            assert any(torch.equal(latent, mean) for mean in own)


def test_the_text_encoder_is_trained_if_asked(backbone: Backbone) -> None:
    artifact = fit(dreambooth, backbone, train_text_encoder=True, steps=2)
    with unchanged(backbone) as before, artifact.applied(backbone):
        found = changed(before, state(backbone))
    assert {name.partition(".")[0] for name in found} == {"unet", "text_encoder"}


@pytest.mark.parametrize("rival", RIVALS)
def test_training_computes_what_the_applied_artifact_draws(
    backbone: Backbone, rival: ModuleType
) -> None:
    trained = json.loads(fitted(rival).info["report"])["after"]["subject"]
    with fitted(rival).applied(backbone):
        training = Training(backbone, ROBOT, quick(rival), CLASS)
        applied = training.held_out(Trainable())["subject"]
    assert applied == pytest.approx(trained, rel=5e-3)  # float16 lies between


def test_text_with_replaced_rows_has_a_gradient_to_them(backbone: Backbone) -> None:
    prompts = ["a photo of a sks robot", "a mug"]
    plain = backbone.encode_prompts(prompts).states
    assert torch.equal(text_states(backbone, prompts, {}), plain)
    row = trainable_copy(torch.zeros(32))
    states = text_states(backbone, prompts, {"sks": row})
    assert torch.equal(states[1], plain[1])
    assert not torch.equal(states[0], plain[0])
    states.sum().backward()  # type: ignore[no-untyped-call]
    assert row.grad is not None and bool(row.grad.any())


def test_the_factors_do_what_peft_does(backbone: Backbone) -> None:
    adapted = lora.with_adapter(backbone, rank=3)
    generator = torch.Generator().manual_seed(0)
    values = {
        name: (torch.randn(p.shape, generator=generator) / 8).half().float()
        for name, p in adapted.denoiser.named_parameters()
        if "lora_" in name
    }
    prompts = Conditioning(torch.randn(2, 32, 32))
    inputs = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), prompts
    artifact = TunedWeights(
        "lora",
        (),
        custom_diffusion.BaseInfo(),
        factors=lora.factors(values),
    )
    with torch.no_grad():
        plain = backbone.predict(*inputs)
        wanted = adapted.call_with(values, lambda: adapted.predict(*inputs))
        with artifact.applied(backbone):
            found = backbone.predict(*inputs)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert (plain - wanted).abs().max() > 1e-2


def test_an_adapter_leaves_random_numbers_alone(backbone: Backbone) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    lora.with_adapter(backbone, 2)
    assert torch.equal(torch.rand(4), wanted)


def test_lora_without_peft_says_what_to_install(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError) as error:
        fit(lora, backbone)
    assert str(error.value) == (
        "lora: needs peft, which is not installed; pip install 'cones-diffusion[lora]'"
    )


def test_the_model_draws_the_class_where_no_images_are_given(backbone: Backbone) -> None:
    stages: list[str] = []
    config = quick(dreambooth, steps=1, prior_images=2)
    dreambooth.METHOD.fit(
        backbone, [ROBOT, MUG], config, {"mug": photos(3)}, lambda stage, *_: stages.append(stage)
    )
    assert stages == ["draw the class", "draw the class", "train"]


def test_cones_is_one_of_the_methods(backbone: Backbone) -> None:
    config = replace(registry.METHODS["cones"].defaults, steps=2, batch=2, prior_batch=2)
    artifact = registry.fit("cones", backbone, ROBOT, replace(config, prior_images=2))
    assert isinstance(artifact, Cones) and artifact.method == "cones"
    with unchanged(backbone) as before, artifact.applied(backbone):
        assert changed(before, state(backbone))


def test_an_unknown_method_is_one_line(backbone: Backbone) -> None:
    with pytest.raises(InputError) as error:
        registry.fit("dream", backbone, ROBOT)
    assert str(error.value) == (
        "method 'dream': is unknown; expected one of cones, textual_inversion, dreambooth, "
        "custom_diffusion, lora"
    )


def test_the_configuration_of_another_method_is_one_line(backbone: Backbone) -> None:
    with pytest.raises(InputError) as error:
        registry.fit("lora", backbone, ROBOT, quick(dreambooth))
    assert str(error.value) == (
        "config: the method 'lora' takes a LoraConfig, found a DreamBoothConfig; give "
        "dataclasses.replace(METHODS['lora'].defaults, ...)"
    )


def test_every_method_is_its_module() -> None:
    for name, method in registry.METHODS.items():
        assert method.name == name and method.title and method.how
    parameters = inspect.signature(registry.fit).parameters
    assert list(parameters) == [
        "method", "backbone", "subjects", "config", "class_images", "on_progress",
    ]  # fmt: skip


@pytest.mark.parametrize("rival", RIVALS)
def test_subjects_that_cannot_be_told_apart_are_refused(
    backbone: Backbone, rival: ModuleType
) -> None:
    with pytest.raises(InputError, match="'sks': stands for two subjects "):
        fit(rival, backbone, ROBOT, replace(MUG, token="sks"))
    with pytest.raises(InputError, match="subjects: expected at least one, found none"):
        rival.METHOD.fit(backbone, [], quick(rival))


def test_a_diverging_training_stops(backbone: Backbone) -> None:
    with pytest.raises(ConesError, match=r"^training: .* became NaN or infinite at step \d+ of 8"):
        fit(dreambooth, backbone, rate=1e30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1, found 0"),
        ({"batch": 0}, "batch: expected 1 to 1024, found 0"),
        ({"prior_batch": -1}, "prior_batch: expected 0 to 1024, found -1"),
        ({"prior_images": 0}, "prior_images: expected 1 to 10000, found 0"),
        ({"rate": 0.0}, "rate: expected more than 0, found 0.0"),
        ({"rate": float("nan")}, "rate: expected a finite number, more than 0, found nan"),
        ({"prior_weight": -1.0}, "prior_weight: expected at least 0, found -1.0"),
        ({"seed": -1}, "seed: expected 0 to 1099511627776, found -1"),
        ({"rank": 0}, "rank: expected 1 to 1024, found 0"),
    ],
)
def test_a_bad_setting_is_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        replace(lora.DEFAULTS, **change)  # type: ignore[arg-type]
    assert str(error.value) == message


@pytest.mark.parametrize("rival", RIVALS)
def test_a_stop_gives_the_artifact_of_a_shorter_fit(backbone: Backbone, rival: ModuleType) -> None:
    stopped: list[TunedWeights] = []
    with unchanged(backbone):
        last = rival.METHOD.fit(
            backbone, ROBOT, quick(rival, steps=4), CLASS, stops={2: stopped.append}
        )
    assert [each.digest() for each in stopped] == [fit(rival, backbone, steps=2).digest()]
    assert last.digest() == fit(rival, backbone, steps=4).digest()
