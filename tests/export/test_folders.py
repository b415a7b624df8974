"""Exports that are folders: the whole pipeline, and PEFT's SHiRA, each read by its own loader."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import KINDS, drawn, shut_weights, small_backbone, weights
from tiny_families import PIPELINES

from cones.errors import InputError
from cones.export import export
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.shutting import shut


def any_backbone(kind: str) -> Backbone:
    return small_backbone(kind) if kind in KINDS else load_backbone(PIPELINES[kind]())


@pytest.mark.parametrize("kind", [*KINDS, "sd3", "flux", "pixart"])
def test_the_pipeline_opens_in_diffusers_with_the_neurons_shut(kind: str, tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    backbone = any_backbone(kind)
    subjects, before = [drawn(backbone, "sks"), drawn(backbone, "ohwx")], weights(backbone)
    export(backbone, subjects, tmp_path / "shut", "diffusers")
    found = weights(DiffusionPipeline.from_pretrained(tmp_path / "shut", safety_checker=None))
    ours = shut_weights(backbone, subjects[0] | subjects[1])
    assert found.keys() == ours.keys()
    assert all(torch.equal(found[name], ours[name]) for name in ours)
    assert all(torch.equal(each, before[name]) for name, each in weights(backbone).items())
    assert [each.name for each in tmp_path.iterdir()] == ["shut"]


@pytest.mark.parametrize("kind", [*KINDS, "sd3", "flux", "pixart"])
def test_peft_loads_the_adapter_and_its_weights_are_those_of_a_shutting(
    kind: str, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    backbone = any_backbone(kind)
    subjects = [drawn(backbone, "sks"), drawn(backbone, "ohwx", density=0.2)]
    export(backbone, subjects, tmp_path / "shira", "shira")
    ours = shut_weights(backbone, subjects[0] | subjects[1])
    merged = peft.PeftModel.from_pretrained(
        backbone.denoiser, tmp_path / "shira"
    ).merge_and_unload()
    found = weights(merged)
    assert all(torch.equal(found[name], ours[name]) for name in ours)


def test_peft_draws_with_the_adapter_unmerged(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    unet: Any = (backbone := small_backbone("sd")).denoiser
    neurons = drawn(backbone, which="text")
    export(backbone, neurons, tmp_path / "shira", "shira")
    noisy = (torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 7, 32))
    with torch.no_grad(), shut(backbone, neurons):
        ours = unet(*noisy).sample
    adapted = peft.PeftModel.from_pretrained(unet, tmp_path / "shira")
    with torch.no_grad():
        assert torch.equal(adapted(*noisy).sample, ours)


def test_no_neurons_and_too_many_for_shira_are_refused(tmp_path: Path) -> None:
    backbone = small_backbone("sd")
    with pytest.raises(InputError, match=r"to_k: SHiRA has \d+ places .* use --to diffusers$"):
        export(backbone, drawn(backbone, density=0.95), tmp_path / "shira", "shira")
    for to in ("shira", "comfyui"):
        with pytest.raises(InputError, match="no neurons to export"):
            export(backbone, drawn(backbone, density=0.0), tmp_path / to, to)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["diffusers", "shira"])
def test_only_an_empty_folder_is_filled_and_only_whole(
    to: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = small_backbone("sd")
    (tmp_path / "empty").mkdir()
    export(backbone, drawn(backbone), tmp_path / "empty", to)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="is there already; name a new or an empty folder"):
        export(backbone, drawn(backbone), tmp_path / "empty", to)
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(backbone, drawn(backbone), tmp_path / "new", to)
    assert sorted(tmp_path.rglob("*")) == before
