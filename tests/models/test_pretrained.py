"""A base model is opened as its owner expects, or refused in one line that says what it is."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refusals import refusal
from safetensors.torch import load_file, save_file
from tiny import tiny_clip, tiny_flux, tiny_folder, tiny_kl, tiny_pipeline, tiny_unet
from tiny_checkpoint import save_checkpoint
from tiny_families import tiny_flux_pipeline, tiny_sdxl_pipeline
from torch import Tensor, nn

from cones.errors import InputError
from cones.models import devices
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons
from cones.neurons.projections import projections

SD1 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SD2 = "stabilityai/stable-diffusion-2-1"

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder that a test may change."""
    return Path(shutil.copytree(tiny_folder(), tmp_path / "model"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The tensors of a Stable Diffusion 1 as one file."""
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_checkpoint(tiny_pipeline(prediction="epsilon", kl=True), path)
    return load_file(path)


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of downloads with the configurations of Stable Diffusion 1 and 2."""
    place = tmp_path_factory.mktemp("hub")
    tiny_pipeline(prediction="epsilon", kl=True).save_pretrained(place / "configuration")
    for weights in (place / "configuration").rglob("*.safetensors"):
        weights.unlink()
    for name in (SD1, SD2):
        downloaded(place, name, place / "configuration")
    return place


def downloaded(cache: Path, name: str, source: Path) -> None:
    """Puts a model into a cache of downloads, at its branch main."""
    commit = "0" * 40
    model = cache / f"models--{name.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    shutil.copytree(source, model / "snapshots" / commit)


def use_cache(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))


def use_variant(part: Path, variant: str) -> None:
    """Names a component's weights as those of a variant."""
    (path,) = part.glob("*.safetensors")
    path.rename(path.with_suffix(f".{variant}.safetensors"))


# -- a loaded pipeline -----------------------------------------------------------------------------


def test_a_pipeline_is_used_as_it_is() -> None:
    pipeline = tiny_pipeline()
    scheduler = pipeline.scheduler
    options: dict[str, Any] = {
        "device": "cpu", "dtype": torch.float32, "prediction_type": "v_prediction",
    }  # fmt: skip
    assert load_backbone(pipeline, **options).pipeline is pipeline
    assert pipeline.scheduler is scheduler
    assert load_backbone(tiny_pipeline().to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"dtype": torch.float16},
            "dtype: expected torch.float32, which the pipeline has, or",
        ),
        ({"prediction_type": "epsilon"}, "prediction_type: expected v_prediction, which the pipe"),
        ({"revision": "v2"}, "is loaded already; revision and variant 'v2' are for a name"),
        ({"variant": "fp16"}, "is loaded already; revision and variant 'fp16' are for a name"),
        ({"device": "cuda"}, "device 'cuda': is not here; expected cpu"),
        ({"scheduler": "DDIM"}, "scheduler 'DDIM': draws no Stable Diffusion 1 or 2; expected one"),
    ],
)
def test_a_pipeline_is_never_changed_for_an_option(options: dict[str, Any], line: str) -> None:
    pipeline = tiny_pipeline()
    before = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    assert line in refusal(pipeline, **options)
    after = pipeline.unet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_components_that_cannot_work_together_are_refused(part: str) -> None:
    pipeline = tiny_pipeline()
    getattr(pipeline, part).to(torch.float16)
    assert "expected all components on one device in one type, found" in refusal(pipeline)


@pytest.mark.parametrize(
    "fault", ["lora", "fused", "offloaded", "group", "cached", "quantised", "parallel", "meta"]
)
def test_weights_that_are_not_in_place_are_refused(fault: str) -> None:
    pipeline = tiny_flux_pipeline() if fault in ("fused", "cached") else tiny_sdxl_pipeline()
    expected = "its unet is offloaded or cached by hooks; load the model without offloading"
    if fault == "lora":
        from peft import LoraConfig

        pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=["to_k"]))
        expected = "a LoRA lies over it; unload it"
    elif fault == "fused":
        pipeline.transformer.fuse_qkv_projections()
        expected = "unfuse_qkv_projections"
    elif fault == "offloaded":
        from accelerate import cpu_offload

        cpu_offload(pipeline.unet, torch.device("cpu"))
    elif fault == "group":
        pipeline.unet.enable_group_offload(torch.device("cpu"), offload_type="leaf_level")
    elif fault == "cached":
        from diffusers import FirstBlockCacheConfig

        pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.2))
        expected = "its transformer is offloaded or cached by hooks"
    elif fault == "quantised":
        name = next(iter(projections(pipeline)))
        layer = pipeline.unet.get_submodule(name)
        layer.weight = nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
        expected = "found torch.int8; load the model in one"
    elif fault == "parallel":
        pipeline.unet = nn.DataParallel(pipeline.unet)
        expected = "DataParallel: computes with copies of the weights; give the module in it"
    else:
        pipeline.vae.encoder.to("meta")
        expected = "its vae lacks the weight encoder."
    assert expected in refusal(pipeline)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("time_cond_proj_dim", 256),
        ("encoder_hid_dim_type", "ip_image_proj"),
        ("class_embed_type", ""),
    ],
)
def test_unets_that_are_told_more_are_refused(setting: str, value: object) -> None:
    pipeline = tiny_pipeline()
    pipeline.unet.register_to_config(**{setting: value})
    line = refusal(pipeline)
    assert f"expected a UNet that takes latents, times and text, found {setting} {value!r}" in line


# -- a folder --------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [("unet",), ("unet", "vae", "text_encoder")])
def test_the_only_variant_is_opened(folder: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        use_variant(folder / part, "fp16")
    plain, found = load_backbone(tiny_folder()), load_backbone(folder)
    assert load_backbone(folder, variant="fp16").dtype == found.dtype == torch.float32
    weights = found.denoiser.state_dict()
    assert all(torch.equal(weights[key], w) for key, w in plain.denoiser.state_dict().items())


def test_a_variant_is_chosen_and_others_are_refused(folder: Path) -> None:
    assert "has no variant 'fp16'; expected none, there are only plain" in refusal(
        folder, variant="fp16"
    )
    half = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    zeros = {
        name: torch.zeros_like(weight)
        for name, weight in load_file(folder / "unet" / half.name.replace(".fp16", "")).items()
    }
    save_file(zeros, half)
    assert not projections(load_backbone(folder, variant="fp16")).popitem()[1].any()
    assert projections(load_backbone(folder)).popitem()[1].any()
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
        folder / "unet" / "diffusion_pytorch_model.bf16.safetensors"
    )
    assert "has no plain files, only variants; choose one by --variant: bf16 or fp16" in refusal(
        folder
    )


def test_a_folder_of_pickles_is_refused(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path, safe_serialization=False)
    line = refusal(tmp_path)
    assert "holds only pickles (" in line and "convert them to .safetensors" in line


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model"])
@pytest.mark.parametrize("damage", ["truncated", "git-lfs", "missing", "pickle", "empty"])
def test_damaged_weights_are_refused(folder: Path, part: str, damage: str) -> None:
    path = folder / f"{part}.safetensors"
    whole = path.read_bytes()
    path.unlink()
    content, expected = {
        "truncated": (whole[:-10], f"found {len(whole) - 10} bytes, truncated or damaged; copy or"),
        "git-lfs": (b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer"),
        "missing": (None, f"{path.parent}: holds no weights; download or copy the model again"),
        "pickle": (b"PK\x03\x04", "never opened, since it can run code; give weights that"),
        "empty": (b"", "is empty; copy or download it again"),
    }[damage]
    if content is not None:
        path.write_bytes(content)
    assert expected in refusal(folder)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_weight_that_is_missing_is_refused_not_random(folder: Path, part: str) -> None:
    (path,) = (folder / part).glob("*.safetensors")
    weights = load_file(path)
    name = sorted(name for name in weights if name.endswith("weight"))[3]
    del weights[name]
    save_file(weights, path, {"format": "pt"})
    found = refusal(folder).partition(" lacks the weight ")[2].partition(";")[0]
    assert found and name.endswith(found)


def test_an_autoencoder_with_the_names_of_old_is_opened(folder: Path) -> None:
    """As in the folders of Stable Diffusion 1 and 2: diffusers renames them."""
    pipeline = tiny_pipeline(kl=True)
    pipeline.save_pretrained(folder)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(path)
    for now, then in old.items():
        weights = {name.replace(now, then): each for name, each in weights.items()}
    assert any("proj_attn" in name for name in weights)
    save_file(weights, path, {"format": "pt"})
    found = load_backbone(folder).pipeline.vae.state_dict()
    assert all(torch.equal(found[k], v) for k, v in pipeline.vae.state_dict().items())


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_folder_half_downloaded_is_refused(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    assert refusal(folder) == f"{folder}: lacks its {part}; download or copy it again, whole"


def test_a_tokenizer_that_was_not_downloaded_is_refused(folder: Path) -> None:
    for path in (folder / "tokenizer").iterdir():
        path.unlink()
    assert "its tokenizer knows no words; download the model again, whole" in refusal(folder)


def test_a_shard_that_is_missing_is_refused(folder: Path) -> None:
    tiny_pipeline().unet.save_pretrained(folder / "unet", max_shard_size="50KB")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    shards = sorted((folder / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 1 and load_backbone(folder).name == "model"
    shards[-1].unlink()
    assert "cannot be opened (" in refusal(folder)


def test_a_folder_that_is_no_model_says_what_it_is(tmp_path: Path) -> None:
    for name, expected in (
        ("nothing.txt", "holds no model_index.json"),
        ("sd15.safetensors", "holds files of weights such as sd15.safetensors"),
        ("config.json", "holds one component of a model"),
        ("pytorch_lora_weights.safetensors", "holds a LoRA, to be fused"),
    ):
        (tmp_path / name).touch()
        assert expected in refusal(tmp_path)
    (tmp_path / "model_index.json").write_text("[" * 100_000)
    assert "model_index.json: expected a JSON object" in refusal(tmp_path)


# -- a hub name ------------------------------------------------------------------------------------


def test_a_downloaded_revision_is_opened_and_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded(tmp_path, "nobody/tiny", tiny_folder())
    use_cache(monkeypatch, tmp_path)
    for revision in (None, "main", "0" * 40):
        assert load_backbone("nobody/tiny", revision=revision).name == "nobody/tiny"
    assert refusal("nobody/tiny", revision="v2") == (
        "model 'nobody/tiny' at revision 'v2': is no file or folder, and not among this machine's "
        "downloads; if it is a hub name, let it be downloaded (--allow_download)"
    )


@pytest.mark.parametrize("wrong", [None, 5, b"toybox", torch.nn.Linear(1, 1)])
def test_what_is_no_model_is_refused(wrong: Any) -> None:
    said = f"model: expected a name, a path or a pipeline, found a {type(wrong).__name__}"
    assert refusal(wrong) == said


def test_types_that_no_weights_have_are_refused() -> None:
    for wrong in ("int8", "float16", torch.int8, 16):
        assert refusal(tiny_folder(), dtype=wrong).startswith(
            "dtype: expected one of torch.float32"
        )
    assert refusal(tiny_folder(), amp="bf16").startswith("amp: expected one of torch.float16")


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "no name at all!", "model.safetensors"])
def test_a_path_that_leads_nowhere_is_no_hub_name(name: str) -> None:
    assert refusal(name) == f"model {name!r}: there is no such file or folder; check the path"


def test_a_revision_is_of_a_hub_name() -> None:
    line = refusal(tiny_folder(), revision="v2")
    assert line == "revision 'v2': is of a hub name, but the model is a folder"
    assert "revision 'v2': is of a hub name" in refusal("toybox", revision="v2")


# -- one file --------------------------------------------------------------------------------------


@pytest.fixture
def opened(
    checkpoint: dict[str, Tensor], configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Backbone]:
    """Opens the checkpoint with other tensors and metadata."""
    use_cache(monkeypatch, configured)

    def open_changed(
        changes: dict[str, Tensor] | None = None,
        metadata: dict[str, str] | None = None,
        **options: Any,
    ) -> Backbone:
        path = tmp_path / "model.safetensors"
        save_file({**checkpoint, **(changes or {})}, path, metadata)
        return load_backbone(path, **options)

    return open_changed


def test_one_file_is_opened_with_the_configuration_of_its_kind(
    opened: Callable[..., Backbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, pipeline = opened(), tiny_pipeline(prediction="epsilon", kl=True)
    assert backbone.name == "model.safetensors"
    for part in ("unet", "vae", "text_encoder"):
        there, here = (getattr(each, part).state_dict() for each in (pipeline, backbone.pipeline))
        assert there.keys() == here.keys()
        assert all(torch.equal(there[name], here[name]) for name in there)
    use_cache(monkeypatch, tmp_path / "nothing")
    path = tmp_path / "model.safetensors"
    assert refusal(path) == (
        f"{path}: is a checkpoint like {SD1}, whose configuration and tokenizer are not on this "
        "machine; allow their download once (--allow_download), or give the model as a diffusers "
        "folder"
    )


def predicts(backbone: Backbone) -> tuple[str, bool]:
    """What its denoiser predicts, and whether its schedule ends in nothing but noise."""
    signal, _ = backbone.family.noise_coefficients(torch.tensor([999]))
    config = backbone.family.solver().config
    assert config.prediction_type == backbone.pipeline.scheduler.config.prediction_type
    zero = bool(signal.item() == 0)
    assert bool(config.get("rescale_betas_zero_snr")) == zero
    assert (config.timestep_spacing == "trailing") == zero
    return config.prediction_type, zero


@pytest.mark.parametrize(
    ("keys", "metadata", "found"),
    [
        ([], {}, ("epsilon", False)),
        (["v_pred"], {}, ("v_prediction", False)),
        (["v_pred", "ztsnr"], {}, ("v_prediction", True)),
        ([], {"modelspec.prediction_type": "v"}, ("v_prediction", False)),
        ([], {"modelspec.prediction_type": "epsilon"}, ("epsilon", False)),
        ([], {"modelspec.architecture": "stable-diffusion-v2-768-v"}, ("v_prediction", False)),
    ],
)
def test_what_a_file_predicts_is_read_in_it(
    opened: Callable[..., Backbone],
    keys: list[str],
    metadata: dict[str, str],
    found: tuple[str, bool],
) -> None:
    assert predicts(opened({key: torch.zeros(0) for key in keys}, metadata)) == found


def test_what_a_model_predicts_can_be_told(opened: Callable[..., Backbone]) -> None:
    asked: Any = {"prediction_type": "v_prediction"}
    assert predicts(opened(**asked)) == ("v_prediction", False)
    assert predicts(opened({"v_pred": torch.zeros(0)}, prediction_type="epsilon"))[0] == "epsilon"
    assert load_backbone(tiny_folder()).pipeline.scheduler.config.prediction_type == "v_prediction"
    other = load_backbone(tiny_folder(), prediction_type="epsilon")
    noise = torch.randn(1, 4, 8, 8)
    assert torch.equal(other.target(torch.zeros_like(noise), noise, torch.tensor([9])), noise)


def test_a_stable_diffusion_2_says_what_it_predicts(
    opened: Callable[..., Backbone], tmp_path: Path
) -> None:
    """Those of 512 and of 768 pixels are of one layout, and their files seldom say which."""
    mark = {
        "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": (
            torch.zeros(4, 1024)
        )
    }
    with pytest.raises(InputError, match="is a Stable Diffusion 2 and silent on what it predicts"):
        opened(mark)
    opened_as = {kind: opened(mark, prediction_type=kind) for kind in ("epsilon", "v_prediction")}
    assert {predicts(each)[0] for each in opened_as.values()} == {"epsilon", "v_prediction"}
    assert [each.family.sample_size for each in opened_as.values()] == [64, 8]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_file_in_any_plain_type_is_opened(
    opened: Callable[..., Backbone], checkpoint: dict[str, Tensor], dtype: torch.dtype
) -> None:
    rounded = {name: weight.to(dtype) for name, weight in checkpoint.items()}
    backbone, key = opened(rounded), "model.diffusion_model.time_embed.0.weight"
    assert torch.equal(
        backbone.denoiser.state_dict()["time_embedding.linear_1.weight"], rounded[key].float()
    )


KEY = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"edm_vpred.sigma_max": torch.zeros(1)}, "of another kind (v1, 4 channels)"),
        ({KEY: torch.zeros(32, 9, 3, 3)}, "of another kind (inpainting, 9 channels)"),
        ({KEY: torch.zeros(32, 8, 3, 3)}, "of another kind (instruct-pix2pix, 8 channels)"),
        ({KEY: torch.zeros(32, 5, 3, 3)}, "of another kind (v1, 5 channels)"),
        ({"scaled_fp8": torch.zeros(0)}, "its weights are quantised; expected them as float16"),
        ({f"{KEY}.absmax": torch.zeros(0)}, "its weights are quantised; expected them as float16"),
    ],
)
def test_checkpoints_of_other_kinds_are_refused(
    opened: Callable[..., Backbone], changes: dict[str, Tensor], line: str
) -> None:
    with pytest.raises(InputError) as error:
        opened(changes)
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("prefix", "line"),
    [
        ("first_stage_model.", "holds no autoencoder (first_stage_model.*) beside its denoiser"),
        ("cond_stage_model.", "holds no text encoder (cond_stage_model.*) beside its denoiser"),
    ],
)
def test_a_checkpoint_without_a_part_is_refused(
    checkpoint: dict[str, Tensor], tmp_path: Path, prefix: str, line: str
) -> None:
    left = {name: each for name, each in checkpoint.items() if not name.startswith(prefix)}
    save_file(left, tmp_path / "model.safetensors")
    assert line in refusal(tmp_path / "model.safetensors")


def test_other_files_of_weights_say_what_they_are(tmp_path: Path) -> None:
    some = torch.zeros(2, 2)
    for tensors, expected in (
        ({"lora_unet_mid_block_attn.lora_down.weight": some}, "is a LoRA"),
        ({"unet.down_blocks.0.attn.to_k.lora_A.weight": some}, "is a LoRA"),
        ({"unet.mid_block.attn.to_k.lora.up.weight": some}, "is a LoRA"),
        ({"controlnet_cond_embedding.conv_in.weight": some, "down_blocks.0": some}, "a ControlNet"),
        ({"emb_params": some}, "is an embedding"),
        ({"<cat-toy>": torch.zeros(8)}, "is an embedding"),
        ({"clip_l": some, "clip_g": some}, "is an embedding"),
        (tiny_unet().state_dict(), "is a UNet or transformer alone"),
        (tiny_flux().state_dict(), "is a UNet or transformer alone"),
        (tiny_kl().state_dict(), "is an autoencoder alone"),
        (tiny_clip(16).state_dict(), "is a text encoder alone"),
        ({"weights": some, "bias": some}, "is a safetensors file of another kind"),
    ):
        path = tmp_path / "file.safetensors"
        save_file({name: each.clone().contiguous() for name, each in tensors.items()}, path)
        assert expected in refusal(path)


def test_a_neuron_file_is_no_base_model(tmp_path: Path) -> None:
    path = tmp_path / "sks.cones.safetensors"
    neurons = ConceptNeurons({"layer": (2, 2)}, {"layer": np.array([1])}, base=BaseInfo("", ""))
    neurons.save(path)
    assert refusal(path) == (
        f"{path}: is a neuron file; expected a base model: a checkpoint with denoiser, autoencoder "
        "and text encoder, or a diffusers folder"
    )


@pytest.mark.parametrize("name", ["model.ckpt", "pytorch_model.bin", "model.pt", "model.gguf"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n")
    assert refusal(tmp_path / name) == (
        f"{tmp_path / name}: expected a .safetensors file; convert it first, where you trust it"
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            b"no tensors" * 20,
            "expected a safetensors file, found 200 bytes of something else; give",
        ),
        (b"GGUF\x03\x00\x00\x00", "is a GGUF file of quantised weights; give weights that are not"),
        (b"\n<!DOCTYPE html>", "is a web page, not the file itself"),
        (b"version https://git-lfs.github.com/spec/v1", "is a git-LFS pointer"),
        (b"\x80\x02}q\x00", "is a pickle (a torch .bin or .pt file?), which is never opened"),
    ],
)
def test_what_is_called_safetensors_says_what_it_is(
    tmp_path: Path, content: bytes, line: str
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert f"{path}: {line}" in refusal(path)


# -- where and in what type ------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["gpu", "cuda", "cuda:9", "banana", "meta", ""])
def test_a_device_that_there_is_not_is_refused(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    assert refusal(tiny_folder(), device=device).startswith(
        f"device {device!r}: is not here; expected cpu"
    )


def test_an_accelerator_is_chosen_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.device_of(None) == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.device_of(None) == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.device_of(None) == torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "stored", "native", "dtype"),
    [
        ("cpu", "F16", True, torch.float32),
        ("cpu", "BF16", True, torch.float32),
        ("cuda", "F32", True, torch.float16),
        ("cuda", "F16", True, torch.float16),
        ("cuda", "BF16", True, torch.bfloat16),
        ("cuda", "BF16", False, torch.float16),
        ("mps", "F32", True, torch.float16),
    ],
)
def test_weights_are_in_half_precision_on_an_accelerator(
    device: str, stored: str, native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert devices.default_dtype(torch.device(device), stored) == dtype


def test_autocast_in_another_half_type_is_refused() -> None:
    line = refusal(tiny_folder(), dtype=torch.bfloat16, amp=torch.float16)
    assert line.startswith("amp: expected none or torch.bfloat16, which the weights are in, found")


@pytest.mark.parametrize("option", ["dtype", "amp"])
def test_float16_on_a_cpu_is_warned_of(option: str, caplog: pytest.LogCaptureFixture) -> None:
    load_backbone(tiny_folder(), **{option: torch.bfloat16})  # type: ignore[arg-type]
    assert not caplog.text
    load_backbone(tiny_folder(), **{option: torch.float16})  # type: ignore[arg-type]
    assert "float16 on a CPU takes many times as long as float32" in caplog.text
