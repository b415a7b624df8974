"""The right weights are found in every served kind of model, and no others."""

from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_flux, tiny_pixart, tiny_sd3, tiny_unet
from torch import nn

from cones.errors import InputError
from cones.neurons.projections import (
    denoiser,
    fingerprint,
    layout_fingerprint,
    model_name,
    projections,
    shapes,
)


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return tiny_unet()


def test_unet(unet: nn.Module) -> None:
    text, both = projections(unet), projections(unet, "all")
    assert list(text)[:2] == [
        f"down_blocks.0.attentions.0.transformer_blocks.0.attn2.{leaf}" for leaf in ("to_k", "to_v")
    ]
    assert len(text) == 2 * (2 * 1 + 2 * 2 + 1)
    assert all(into == 32 for _, into in shapes(text).values())
    assert len(both) == 2 * len(text) and text.items() <= both.items()
    assert {name.split(".")[-2] for name in both.keys() - text.keys()} == {"attn1"}
    modules = dict(unet.named_modules())
    assert list(text) == [name for name in modules if name in text]
    assert all(weight is modules[name].weight for name, weight in both.items())


def test_sd3() -> None:
    model = tiny_sd3()
    assert list(projections(model)) == [
        f"transformer_blocks.{i}.attn.{leaf}"
        for i in (0, 1)
        for leaf in ("add_k_proj", "add_v_proj")
    ]
    assert len(projections(model, "all")) == 2 * (2 + 2 + 1)


def test_flux() -> None:
    assert list(projections(tiny_flux())) == [
        "transformer_blocks.0.attn.add_k_proj",
        "transformer_blocks.0.attn.add_v_proj",
    ]


def test_pixart() -> None:
    assert list(projections(tiny_pixart())) == [
        f"transformer_blocks.{i}.attn2.{leaf}" for i in (0, 1) for leaf in ("to_k", "to_v")
    ]


def test_a_pipeline_or_a_backbone_serves(unet: nn.Module) -> None:
    transformer = nn.Linear(1, 1)
    assert denoiser(unet) is unet
    assert denoiser(SimpleNamespace(unet=unet, vae=transformer)) is unet
    assert denoiser(SimpleNamespace(unet=None, transformer=transformer)) is transformer
    assert denoiser(SimpleNamespace(denoiser=unet, unet=transformer)) is unet
    assert denoiser(torch.compile(unet)) is unet
    with pytest.raises(InputError, match=r"^str: holds no denoiser; expected a torch module"):
        denoiser("sd")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("hub/model", "hub/model"),
        ("/a/b/toybox", "toybox"),
        ("/a/b/toybox/unet", "toybox"),
        ("", "Linear"),
        (None, "Linear"),
    ],
)
def test_the_name_is_no_path(given: str | None, name: str) -> None:
    model = nn.Linear(1, 1)
    model.config = SimpleNamespace(_name_or_path=given)  # type: ignore[assignment]
    assert model_name(model) == name
    assert model_name(SimpleNamespace(unet=model, name="own")) == "own"
    pipeline = SimpleNamespace(unet=model, config=SimpleNamespace(_name_or_path="hub/pipeline"))
    assert model_name(pipeline) == "hub/pipeline"


def test_the_fingerprint_tells_models_apart_but_not_dtypes(unet: nn.Module) -> None:
    half = {name: weight.half() for name, weight in projections(unet).items()}
    again = {name: half[name].float() for name in reversed(half)}
    print_ = fingerprint(half)
    assert len(print_) == 32 and print_ == fingerprint(again)
    other = projections(tiny_unet(seed=1))
    assert fingerprint(other) != print_
    assert layout_fingerprint(other) == layout_fingerprint(half)
    name = next(iter(again))
    again[name].view(-1)[7] += 1
    assert fingerprint(again) != print_
    renamed = {name.replace("down", "up_"): weight for name, weight in half.items()}
    assert fingerprint(renamed) != print_
    assert layout_fingerprint(renamed) != layout_fingerprint(half)
    turned = {name: weight.T for name, weight in half.items()}
    assert layout_fingerprint(turned) != layout_fingerprint(half)


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(InputError, match=r"^Linear: no key or value projection .*not served"):
        projections(nn.Linear(2, 2))


def test_fused_projections_are_refused_and_unfused_ones_serve() -> None:
    for model in (tiny_unet(), tiny_flux()):
        names = list(projections(model))
        model.fuse_qkv_projections()  # type: ignore[operator]
        with pytest.raises(InputError, match=r"(to_k|add_k_proj): .*fused.*unfuse_qkv_projections"):
            projections(model)
        model.unfuse_qkv_projections()  # type: ignore[operator]
        assert list(projections(model)) == names


def chosen() -> tuple[nn.Module, nn.Module, str]:
    """A UNet, one of its cross-attention modules, and the name of its `to_k`."""
    model = tiny_unet()
    name = next(iter(projections(model)))
    return model, model.get_submodule(name.removesuffix(".to_k")), name


def test_a_lora_is_refused() -> None:
    class LoraLinear(nn.Module):  # peft's, as far as it matters
        def __init__(self, base_layer: nn.Module) -> None:
            super().__init__()
            self.base_layer = base_layer

        @property
        def weight(self) -> object:
            return self.base_layer.weight

    model, attention, name = chosen()
    attention.to_k = LoraLinear(attention.get_submodule("to_k"))
    with pytest.raises(InputError, match=f"^{name}: a LoRA lies over it; unload it"):
        projections(model)


def test_weights_that_are_not_plain_are_refused() -> None:
    model, attention, name = chosen()
    nn.utils.parametrize.register_parametrization(attention.to_k, "weight", nn.Identity())
    with pytest.raises(
        InputError, match=f"^{name}: expected a plain matrix .*without quantisation"
    ):
        projections(model)


def test_offloaded_weights_are_refused() -> None:
    with pytest.raises(InputError, match=r"meta device.*without sequential offloading"):
        projections(chosen()[0].to("meta"))


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(InputError, match=r"found torch\.float8_e4m3fn; load the model in one"):
        projections(chosen()[0].to(torch.float8_e4m3fn))
