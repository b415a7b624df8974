"""Every family of models is served: found, filed, shut, drawn; and each as diffusers does it."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refusal
from tiny import tiny_pipeline
from tiny_families import PIPELINES, tiny_pixart_pipeline, tiny_sd3_pipeline, tiny_sdxl_pipeline
from torch import Tensor

from cones.errors import BaseModelError, BaseModelWarning, InputError
from cones.methods import dreambooth
from cones.methods.trained_weights import TunedWeights
from cones.models.backbone import Backbone
from cones.models.families import Conditioning
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import load
from cones.neurons.projections import projections
from cones.neurons.shutting import shut
from cones.sampling.attention import attention_maps, photo_maps
from cones.sampling.generate import generate
from cones.search.config import FindConfig
from cones.search.find import find
from cones.subjects.subject import Subject

FAMILIES = list(PIPELINES)
DIFFUSION, FLOW = ["sdxl", "pixart"], ["sd3", "flux"]
QUICK = FindConfig(density=0.1, steps=2, batch=2, prior_batch=2, prior_images=1)
PROMPTS = ["a photo of a sks robot", "a mug", ""]
PIXELS = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
ROBOT = Subject((Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])), "robot", "sks")


@cache
def backbone(family: str) -> Backbone:
    return load_backbone(tiny_pipeline() if family == "sd" else PIPELINES[family]())


@cache
def neurons(family: str) -> ConceptNeurons:
    return find(backbone(family), ROBOT, QUICK)


def drawn(backbone: Backbone, **options: Any) -> np.ndarray[Any, Any]:
    (picture,) = generate(backbone, "a sks robot", steps=2, **options)
    return np.asarray(picture.image)


def noised() -> tuple[Tensor, Tensor, Tensor]:
    latents, noise = torch.randn(2, 5, 4, 8, 8)
    return latents, noise, torch.tensor([0, 1, 500, 998, 999])


# -- the whole way ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_photographs_to_neurons_to_a_file_to_pictures(family: str, tmp_path: Path) -> None:
    model = backbone(family)
    before = {name: value.clone() for name, value in model.denoiser.state_dict().items()}
    found = neurons(family)
    searched = projections(model, "all")
    assert len(found) == round(0.1 * sum(weight.numel() for weight in searched.values()))
    found.save(tmp_path / "robot.cones.safetensors")
    loaded = load(tmp_path / "robot.cones.safetensors")
    assert loaded == found
    plain, changed = drawn(model), drawn(model, neurons=loaded, strength=2.0)
    assert plain.shape == (16, 16, 3) and (plain != changed).any()
    assert (drawn(model) == plain).all()
    after = model.denoiser.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_seed_gives_one_set(family: str) -> None:
    again = find(load_backbone(PIPELINES[family]()), ROBOT, QUICK)
    assert again == neurons(family) and again.info == neurons(family).info


@pytest.mark.parametrize("family", ["sd", *FAMILIES])
def test_files_of_other_families_are_refused(family: str) -> None:
    for other in {"sd", *FAMILIES} - {family}:
        refused = pytest.raises(BaseModelError, match="load that base model, or find the neurons")
        with refused, shut(backbone(family), neurons(other)):
            pass


@pytest.mark.parametrize("family", ["sdxl", "sd3", "pixart"])
def test_a_folder_is_opened_as_what_it_is(family: str, tmp_path: Path) -> None:
    PIPELINES[family]().save_pretrained(tmp_path / "model")
    opened = load_backbone(tmp_path / "model")
    assert type(opened.family) is type(backbone(family).family)
    with warnings.catch_warnings():
        warnings.simplefilter("error", BaseModelWarning)  # its fingerprint is the same
        assert (
            drawn(opened, neurons=neurons(family))
            == drawn(backbone(family), neurons=neurons(family))
        ).all()


def test_a_compiled_denoiser_serves() -> None:
    pipeline = tiny_sdxl_pipeline()
    pipeline.unet = torch.compile(pipeline.unet, backend="eager")
    model = load_backbone(pipeline)
    assert find(model, ROBOT, QUICK) == neurons("sdxl")
    plain = drawn(model)
    assert (drawn(model, neurons=neurons("sdxl"), strength=2.0) != plain).any()
    assert (drawn(model) == plain).all()


# -- as diffusers does it --------------------------------------------------------------------------


@pytest.mark.parametrize("family", DIFFUSION)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_diffusion_is_noised_as_by_ddpm(family: str, prediction: str) -> None:
    from diffusers import DDPMScheduler

    pipeline = PIPELINES[family]()
    pipeline.scheduler.register_to_config(prediction_type=prediction)
    model, (latents, noise, timesteps) = load_backbone(pipeline), noised()
    ddpm = DDPMScheduler.from_config(pipeline.scheduler.config)
    noisy = model.add_noise(latents, noise, timesteps)
    torch.testing.assert_close(noisy, ddpm.add_noise(latents, noise, timesteps))
    velocity = ddpm.get_velocity(latents, noise, timesteps)
    target = model.target(latents, noise, timesteps)
    torch.testing.assert_close(target, noise if prediction == "epsilon" else velocity)


@pytest.mark.parametrize("family", FLOW)
def test_flows_are_noised_as_by_their_scheduler(family: str) -> None:
    model, (latents, noise, timesteps) = backbone(family), noised()
    scheduler = model.family.solver()
    times = scheduler.timesteps.flip(0)[timesteps]
    noisy = model.add_noise(latents, noise, timesteps)
    torch.testing.assert_close(noisy, scheduler.scale_noise(latents, times, noise))
    target = model.target(latents, noise, timesteps)
    torch.testing.assert_close(noisy - target * times.view(-1, 1, 1, 1) / 1000, latents)
    drawn(model)  # which sets other timesteps
    assert torch.equal(model.add_noise(latents, noise, timesteps), noisy)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_search_asks_what_the_pipeline_asks(family: str) -> None:
    """Of the same noise and prompt, the pipeline's first step and the search say the same."""
    model = backbone(family)
    heard: list[dict[str, Any]] = []

    def listen(_: object, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        heard.append(dict(zip(("sample", "timestep"), inputs, strict=False)) | named)

    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    hook = model.denoiser.register_forward_pre_hook(listen, with_kwargs=True)
    try:
        generate(model, PROMPTS[0], steps=1, guidance=3.5 if family == "flux" else 1.0)
        timestep = 999 if family in FLOW else int(heard[0]["timestep"])
        prompts = model.encode_prompts(PROMPTS[:1])
        output = model.predict(noise, torch.tensor([timestep]), prompts)
    finally:
        hook.remove()
    theirs, ours = heard
    assert output.shape == noise.shape and output.dtype == torch.float32
    assert "encoder_hidden_states" in ours
    assert {name for name, each in theirs.items() if each is not None} - {
        "joint_attention_kwargs"
    } == {name for name, each in ours.items() if each is not None}
    for name in ours:
        assert same(ours[name], theirs[name]), name


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Tensor):
        return torch.equal(one.flatten(), other.flatten())
    return bool(one == other)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_drawn_is_what_the_pipeline_draws(family: str) -> None:
    model = backbone(family)
    pipeline = PIPELINES[family]()
    pipeline.scheduler = model.family.solver()
    named: dict[str, Any] = {"use_resolution_binning": False} if family == "pixart" else {}
    theirs = pipeline(
        "a sks robot",
        num_inference_steps=2,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(0),
        **named,
    ).images[0]
    assert (drawn(model) == np.asarray(theirs)).all()
    assert (drawn(model, guidance=2.0) != np.asarray(theirs)).any()


def test_the_variance_that_pixart_learnt_is_dropped() -> None:
    model = backbone("pixart")
    assert model.denoiser.config.out_channels == 8  # type: ignore[union-attr]
    prompts = model.encode_prompts(PROMPTS[:2])
    assert model.predict(torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), prompts).shape[1] == 4


def test_pixart_is_told_its_resolution_where_it_wants_to_know() -> None:
    from diffusers import PixArtTransformer2DModel

    pipeline = tiny_pixart_pipeline()
    config = {**pipeline.transformer.config, "use_additional_conditions": True}
    pipeline.transformer = PixArtTransformer2DModel.from_config(config)
    model = load_backbone(pipeline)
    prompts = model.encode_prompts(PROMPTS[:2])
    output = model.predict(torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), prompts)
    assert torch.isfinite(output).all()


def test_an_empty_prompt_of_sdxl_is_what_it_is_guided_from() -> None:
    prompts = backbone("sdxl").encode_prompts(PROMPTS)
    assert prompts.pooled is not None
    assert not prompts.states[2].any() and not prompts.pooled[2].any()
    assert prompts.states[:2].any(2).any(1).all() and prompts.pooled[:2].any(1).all()
    pipeline = tiny_sdxl_pipeline()
    pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    assert load_backbone(pipeline).encode_prompts([""]).states.any()


def test_the_autoencoder_of_sdxl_does_not_overflow_in_float16() -> None:
    model = load_backbone(tiny_sdxl_pipeline().to(torch.float16))
    means, _ = model.encode_images(ROBOT.images)
    exact, _ = backbone("sdxl").encode_images(ROBOT.images)
    torch.testing.assert_close(means, exact, atol=1e-3, rtol=1e-2)
    assert model.pipeline.vae.dtype == torch.float16


def test_latents_are_normalised_as_sdxl_unnormalises_them() -> None:
    pipeline = tiny_sdxl_pipeline()
    plain, _ = load_backbone(pipeline).encode_images(ROBOT.images)
    mean, deviation = [0.1, -0.2, 0.3, 0.0], [2.0, 1.0, 0.5, 4.0]
    pipeline.vae.register_to_config(latents_mean=mean, latents_std=deviation)
    found, _ = load_backbone(pipeline).encode_images(ROBOT.images)
    scale = pipeline.vae.config.scaling_factor
    means, deviations = (torch.tensor(each).view(1, 4, 1, 1) for each in (mean, deviation))
    torch.testing.assert_close(found * deviations / scale + means, plain / scale)


@pytest.mark.parametrize("family", FLOW)
def test_latents_are_shifted_as_the_pipeline_unshifts_them(family: str) -> None:
    model = backbone(family)
    vae = model.pipeline.vae
    means, deviations = model.encode_images(ROBOT.images[:1])
    pixels = torch.tensor(PIXELS).permute(2, 0, 1)[None] / 127.5 - 1
    encoded = vae.encode(pixels).latent_dist
    factor, shift = vae.config.scaling_factor, vae.config.shift_factor
    torch.testing.assert_close(means / factor + shift, encoded.mean)
    torch.testing.assert_close(deviations / factor, encoded.std)


def test_a_negative_prompt_steers_all_but_flux(caplog: pytest.LogCaptureFixture) -> None:
    for family in FAMILIES:
        caplog.clear()
        plain, steered = (drawn(backbone(family), negative_prompt=text) for text in ("", "dog"))
        assert (plain != steered).any() == (family != "flux")
        assert ("'dog': has no effect in Flux" in caplog.text) == (family == "flux")


# -- prompts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_prompts_are_taken_and_joined(family: str) -> None:
    prompts = backbone(family).encode_prompts(PROMPTS)
    both = Conditioning.cat([prompts[[2]], prompts[:2]])
    again = both[[1, 2, 0]]
    assert len(prompts) == len(again) == 3
    for name in ("states", "pooled", "mask"):
        one, other = getattr(prompts, name), getattr(again, name)
        assert other is None if one is None else torch.equal(one, other)
    assert (prompts.pooled is None) == (family == "pixart")
    assert (prompts.mask is None) == (family != "pixart")


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_are_read_as_far_as_the_pipeline_reads_them(family: str) -> None:
    model = backbone(family)
    room = {"sdxl": 30, "sd3": 30, "flux": 511, "pixart": 299}[family]
    start = "a " * (room - 1)
    assert model.check_prompt(start + "a") is None
    assert ("only its T5 reads what follows" if family == "sd3" else "no effect") in (
        model.check_prompt(start + "a a") or ""
    )
    one, other = (model.encode_prompts([start + word]) for word in ("a", "mug"))
    assert not torch.equal(one.states, other.states)
    with pytest.raises(InputError, match=f"'sks' stands behind token {room}"):
        model.check_prompt(start + "a sks", ["sks"])


@pytest.mark.parametrize("t5", [True, False])
def test_only_t5_reads_on_in_stable_diffusion_3(t5: bool) -> None:
    pipeline = tiny_sd3_pipeline()
    if not t5:
        pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    model = load_backbone(pipeline)
    start = "a " * model.family.max_prompt_tokens
    one, other = (model.encode_prompts([start + word]).states for word in ("a", "mug"))
    assert torch.equal(one, other) is not t5
    told = model.check_prompt(start + "mug") or ""
    assert ("only its T5 reads what follows" if t5 else "what follows has no effect") in told


@pytest.mark.parametrize("family", ["flux", "pixart"])
def test_a_word_may_be_spelled_in_pieces_where_t5_reads(family: str) -> None:
    model = backbone(family)
    assert len(model.token_ids("unheardof")) > 1
    model.check_token("unheardof", "robot")
    assert len(model.rare_tokens(16)) == 16
    pieces, room = len(model.token_ids("unheardof")), model.family.max_prompt_tokens
    for words in (room - pieces, room - pieces + 1):  # what is read ends after the word, or in it
        prompt = "a " * words + "unheardof robot"
        if words + pieces <= room:
            assert model.check_prompt(prompt, ["unheardof"]) is not None
            continue
        with pytest.raises(InputError, match="'unheardof' stands behind token"):
            model.check_prompt(prompt, ["unheardof"])
    for token, fault in (("", "found 0"), ("robot", "class noun itself"), ("ロボ", "unknown")):
        with pytest.raises(InputError, match=fault):
            model.check_token(token, "robot")


def test_attention_is_mapped_where_there_is_cross_attention() -> None:
    for family, start in (("sdxl", ""), ("pixart", "\u2581")):
        maps = attention_maps(backbone(family), "a sks robot", steps=2)
        assert maps.tokens == tuple(f"{start}{word}" for word in ("a", "sks", "robot"))
        assert len(maps.maps) == 3 and (maps.maps > 0).all()
        (photo,) = photo_maps(backbone(family), ROBOT.images[:1], "a sks robot")
        assert photo.maps.shape == maps.maps.shape
    with pytest.raises(InputError, match="has no cross-attention"):
        attention_maps(backbone("sd3"), "a sks robot", steps=1)


# -- refusals --------------------------------------------------------------------------------------


def test_the_gradient_methods_serve_stable_diffusion_only() -> None:
    line = "a model of SDXL; this method serves Stable Diffusion 1 or 2 only"
    with pytest.raises(InputError, match=line):
        dreambooth.METHOD.fit(backbone("sdxl"), ROBOT)
    row = {"sks": torch.zeros(16)}
    subjects = (SubjectInfo("sks", "robot", "a sks robot"),)
    artifact = TunedWeights("textual-inversion", subjects, BaseInfo("sd", ""), row)
    with pytest.raises(InputError, match=line), artifact.applied(backbone("sdxl")):
        pass


def test_a_pipeline_of_another_kind_is_refused() -> None:
    from diffusers import StableDiffusionImg2ImgPipeline

    pipeline = StableDiffusionImg2ImgPipeline(**tiny_pipeline().components)
    assert refusal(pipeline) == (
        "model 'UNet2DConditionModel': is a StableDiffusionImg2ImgPipeline, which is not served; "
        "expected one of StableDiffusionPipeline, StableDiffusionXLPipeline, "
        "StableDiffusion3Pipeline, FluxPipeline, PixArtAlphaPipeline, PixArtSigmaPipeline"
    )


def test_a_folder_of_another_kind_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "WuerstchenCombinedPipeline"}')
    assert "is a WuerstchenCombinedPipeline, which is not served" in refusal(tmp_path)


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux", "pixart"])
def test_a_denoiser_for_inpainting_or_control_is_refused(family: str) -> None:
    pipeline = PIPELINES[family]()
    denoiser = pipeline.unet if family == "sdxl" else pipeline.transformer
    denoiser.register_to_config(in_channels=9, out_channels=4)
    assert "its denoiser takes 9 channels and gives 4" in refusal(pipeline)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scheduler_of_another_kind_is_refused(family: str) -> None:
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    pipeline = PIPELINES[family]()
    other = DDIMScheduler if family in FLOW else FlowMatchEulerDiscreteScheduler
    pipeline.scheduler = other()
    assert f", {other.__name__}" in refusal(pipeline) or f"a {other.__name__}" in refusal(pipeline)
