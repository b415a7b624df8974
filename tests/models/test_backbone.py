"""The backbone says what diffusers says, and refuses what it cannot serve in one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refusal
from tiny import tiny_flux, tiny_folder, tiny_pipeline

from cones.errors import InputError
from cones.models import prompts
from cones.models.backbone import Backbone
from cones.models.loading import _channels_last, load_backbone
from cones.neurons.shutting import base_fingerprint


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_folder())


def picture(seed: int = 0, size: tuple[int, int] = (16, 16)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


# -- opening ---------------------------------------------------------------------------------------


def test_a_folder_is_opened_and_frozen(backbone: Backbone) -> None:
    assert (backbone.name, backbone.resolution, backbone.timesteps) == ("tiny", 16, 1000)
    assert (backbone.device.type, backbone.dtype) == ("cpu", torch.float32)
    for part in (backbone.denoiser, backbone.pipeline.vae, backbone.pipeline.text_encoder):
        assert not part.training
        assert not any(weight.requires_grad for weight in part.parameters())


def test_the_type_of_the_weights_and_of_autocast_are_chosen(backbone: Backbone) -> None:
    half = load_backbone(tiny_folder(), dtype=torch.bfloat16, amp=torch.bfloat16)
    assert (half.dtype, half.amp) == (torch.bfloat16, torch.bfloat16)
    assert backbone.amp is None


def test_convolutions_are_laid_out_for_a_gpu_and_nothing_else_changes(backbone: Backbone) -> None:
    other = load_backbone(tiny_folder())
    _channels_last(other.pipeline)
    kernel = other.denoiser.get_submodule("mid_block.resnets.0.conv1").weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    weights = other.denoiser.state_dict()
    assert all(torch.equal(weights[name], w) for name, w in backbone.denoiser.state_dict().items())
    assert base_fingerprint(other) == base_fingerprint(backbone)
    inputs = torch.ones(1, 4, 8, 8), torch.tensor([500]), backbone.encode_prompts(["a mug"])
    assert torch.allclose(other.predict(*inputs), backbone.predict(*inputs), atol=1e-5)
    _channels_last(tiny_flux())  # which has no UNet


def test_a_pipeline_without_a_part_is_refused() -> None:
    from diffusers import FluxPipeline

    parts = tiny_pipeline()
    flux = FluxPipeline(
        parts.scheduler, parts.vae, parts.text_encoder, parts.tokenizer, None, None, tiny_flux()
    )
    assert refusal(flux) == (
        "model 'FluxTransformer2DModel': is a FluxPipeline without a text_encoder_2; load it whole "
        "(transformer, vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2, scheduler)"
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"addition_embed_type": "text_time"}, "expected a UNet of Stable Diffusion 1 or 2 (add"),
        ({"in_channels": 9}, "its denoiser takes 9 channels and gives 4 (inpainting or control?)"),
    ],
)
def test_unets_that_take_more_are_refused(change: dict[str, object], line: str) -> None:
    pipeline = tiny_pipeline()
    pipeline.unet.register_to_config(**change)
    assert line in refusal(pipeline)


def test_another_kind_of_prediction_is_refused() -> None:
    assert refusal(tiny_pipeline(prediction="sample")) == (
        "model 'UNet2DConditionModel': its scheduler predicts 'sample'; expected epsilon or "
        "v_prediction"
    )


# -- encoding and noise ----------------------------------------------------------------------------


@pytest.mark.parametrize("kl", [False, True])
def test_images_are_encoded_as_the_denoiser_wants_them(kl: bool) -> None:
    backbone = load_backbone(tiny_pipeline(kl=kl))
    backbone.pipeline.vae.register_to_config(scaling_factor=0.5)
    images = [picture(seed) for seed in range(3)]
    means, deviations = backbone.encode_images(images, batch=2)
    assert means.shape == deviations.shape == (3, 4, 8, 8)
    assert means.dtype == deviations.dtype == torch.float32
    pixels = torch.tensor(np.asarray(images[2])).permute(2, 0, 1)[None] / 255 * 2 - 1
    encoded = backbone.pipeline.vae.encode(pixels)
    if kl:
        torch.testing.assert_close(means[2:], encoded.latent_dist.mean * 0.5)
        torch.testing.assert_close(deviations[2:], encoded.latent_dist.std * 0.5)
    else:
        torch.testing.assert_close(means[2:], encoded.latents * 0.5)
        assert not deviations.any()


def test_an_encoded_picture_is_decoded_to_the_same_size(backbone: Backbone) -> None:
    means, _ = backbone.encode_images([picture()])
    decoded = backbone.pipeline.vae.decode(means / backbone.pipeline.vae.config.scaling_factor)
    assert decoded.sample.shape == (1, 3, 16, 16)


def test_images_of_any_size_become_the_centre_square(backbone: Backbone) -> None:
    wide = picture(size=(40, 20))
    means, _ = backbone.encode_images([wide])
    centre = wide.crop((10, 0, 30, 20)).resize((16, 16), Image.Resampling.LANCZOS)
    assert torch.equal(means, backbone.encode_images([centre])[0])


def test_prompts_are_encoded_as_the_pipeline_does(backbone: Backbone) -> None:
    prompts = ["a sks robot in the snow", "a mug"]
    states = backbone.encode_prompts(prompts).states
    theirs, _ = backbone.pipeline.encode_prompt(prompts, "cpu", 1, False)
    assert states.shape == (2, 32, 32) and torch.equal(states, theirs)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_noise_and_target_are_those_of_the_scheduler(prediction: str) -> None:
    backbone = load_backbone(tiny_pipeline(prediction=prediction))
    latents, noise = torch.randn(2, 5, 4, 8, 8)
    timesteps = torch.tensor([0, 1, 500, 998, 999])
    scheduler = backbone.pipeline.scheduler
    noisy = backbone.add_noise(latents, noise, timesteps)
    torch.testing.assert_close(noisy, scheduler.add_noise(latents, noise, timesteps))
    velocity = scheduler.get_velocity(latents, noise, timesteps)
    target = backbone.target(latents, noise, timesteps)
    torch.testing.assert_close(target, noise if prediction == "epsilon" else velocity)


def test_a_prediction_is_the_denoisers(backbone: Backbone) -> None:
    noisy, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([3, 900])
    prompts = backbone.encode_prompts(["a mug", "a car"])
    output = backbone.predict(noisy, timesteps, prompts)
    assert torch.equal(output, backbone.denoiser(noisy, timesteps, prompts.states).sample)
    layer = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    weight = backbone.denoiser.get_submodule(layer).weight
    before = weight.clone()
    other = backbone.predict(noisy, timesteps, prompts, {layer: torch.zeros_like(weight)})
    assert not torch.equal(output, other) and torch.equal(weight, before)
    rough = replace(backbone, amp=torch.bfloat16).predict(noisy, timesteps, prompts)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, output, atol=0.1, rtol=0.1)


# -- tokens and prompts ----------------------------------------------------------------------------


def test_rare_tokens_can_carry_a_subject(backbone: Backbone) -> None:
    rare = backbone.rare_tokens(16)
    assert len(rare) == 16
    for token in rare:
        backbone.check_token(token, "robot")


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        ("<V*>", "expected one token, found 4 (<, v, *, ...)"),
        ("red mug", "expected one token, found 2 (red, mug)"),
        ("ロボ", "expected one token, found 6"),
        ("", "expected one token, found 0"),
        ("<|endoftext|>", "is special or unknown to the tokenizer"),
        ("robot", "is the class noun itself"),
    ],
)
def test_what_cannot_carry_a_subject_is_refused(backbone: Backbone, token: str, fault: str) -> None:
    with pytest.raises(InputError) as error:
        backbone.check_token(token, "robot")
    assert str(error.value) == (
        f"token {token!r}: {fault}; use a rare single token such as sks, ohwx, hta"
    )


def test_a_token_that_the_tokenizer_does_not_know_is_refused(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with word-level tokenizers, which give one id to all that they do not know."""
    unknown = backbone.tokenizer.unk_token_id
    monkeypatch.setattr(prompts, "token_ids", lambda *_: [unknown])
    with pytest.raises(InputError, match="is special or unknown to the tokenizer"):
        backbone.check_token("sks", "robot")


def test_a_prompt_that_fits_is_let_pass(backbone: Backbone) -> None:
    assert backbone.check_prompt("a sks robot", ["sks"]) is None
    assert backbone.check_prompt("a " * 30, []) is None


def test_a_prompt_that_is_too_long_is_warned_of(backbone: Backbone) -> None:
    prompt = "a sks robot" + " a" * 28
    assert backbone.check_prompt(prompt, ["sks"]) == (
        f"prompt {prompt!r}: has 31 tokens, tiny reads the first 30; what follows has no effect"
    )


@pytest.mark.parametrize(("words", "cut"), [(29, False), (30, True), (40, True)])
def test_a_token_that_is_cut_off_is_refused(backbone: Backbone, words: int, cut: bool) -> None:
    prompt = "a " * words + "sks robot"
    if not cut:
        assert backbone.check_prompt(prompt, ["sks"]) is not None  # the class noun is cut off
        return
    with pytest.raises(InputError) as error:
        backbone.check_prompt(prompt, ["sks"])
    assert str(error.value) == (
        f"prompt {prompt!r}: 'sks' stands behind token 30, where tiny cuts prompts off "
        f"({words + 2} tokens found); shorten the prompt"
    )


def test_control_and_combining_characters_are_text(backbone: Backbone) -> None:
    for prompt in ("a\0b", "e\u0301", "a\n\tb", "\u202egnp", "🤖"):
        assert backbone.check_prompt(prompt) is None
    with pytest.raises(InputError, match="is no valid Unicode; give it as UTF-8"):
        backbone.check_prompt("\udc80")
