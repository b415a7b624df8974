"""Attention maps are those of the layers, change nothing, and separate what they should."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from some_neurons import ROBOT, some_neurons
from tiny import tiny_flux, tiny_pipeline, tiny_pixart, tiny_sd3, tiny_unet
from torch import Tensor, nn

import cones.sampling.attention
from cones.errors import InputError
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.projections import projections
from cones.neurons.shutting import shut
from cones.sampling.attention import attention_maps, photo_maps, resolutions
from cones.sampling.generate import generate
from cones.sampling.recording import Recorder, recording

PROMPT = "a photo of a sks robot"
PHOTOS = Path(__file__).parents[2] / "examples" / "subjects" / "dev" / "robot-2"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture(scope="module")
def robot(backbone: Backbone) -> ConceptNeurons:
    return some_neurons(backbone, ROBOT)


def inputs(count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(count, 4, 16, 16), torch.tensor(500), torch.randn(count, 6, 32)


def layers_of(network: nn.Module) -> dict[str, Any]:
    return {name: layer for name, layer in network.named_modules() if name.endswith("attn2")}


def by_hand(attention: Any, hidden: Tensor, states: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)), the mean over heads, `[n, positions, words]`."""
    query, key = hidden @ attention.to_q.weight.T, states @ attention.to_k.weight.T
    n, heads = len(hidden), attention.heads
    query, key = (part.view(n, part.shape[1], heads, -1).transpose(1, 2) for part in (query, key))
    scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
    return (scores.exp() / scores.exp().sum(-1, keepdim=True)).mean(1)


@torch.no_grad()
def test_maps_are_the_means_of_the_layers_own() -> None:
    network = tiny_unet()
    seen: dict[int, list[Tensor]] = {}

    def keep(layer: nn.Module, given: Any, named: Any) -> None:
        maps = by_hand(layer, given[0], named["encoder_hidden_states"])
        seen.setdefault(maps.shape[1], []).append(maps)

    hooks = [
        layer.register_forward_pre_hook(keep, with_kwargs=True)
        for layer in layers_of(network).values()
    ]
    with recording(network, 2) as recorder:
        for _ in range(2):  # two steps
            network(*inputs())
    for hook in hooks:
        hook.remove()
    assert recorder.sides == (16, 8)
    for side in recorder.sides:
        expected = torch.stack(seen[side**2]).mean(0)
        found = recorder.mean(side)
        assert found.shape == (2, 6, side, side) and found.dtype == torch.float32
        torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected)
        torch.testing.assert_close(found.sum(1), torch.ones(2, side, side))


@torch.no_grad()
def test_only_the_last_samples_are_recorded() -> None:
    network, (noisy, timestep, states) = tiny_unet(), inputs(3)
    with recording(network, 2) as some:
        network(noisy, timestep, states)
    with recording(network, 3) as every:
        network(noisy, timestep, states)
    torch.testing.assert_close(some.mean(8), every.mean(8)[1:])


@torch.no_grad()
def test_masked_tokens_get_no_attention() -> None:
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    network = tiny_pixart()
    with recording(network, 1) as recorder:
        network(
            torch.randn(1, 4, 8, 8), torch.randn(1, 5, 32), torch.tensor([5]),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            encoder_attention_mask=mask,
        )  # fmt: skip
    maps = recorder.mean(4)[0]
    assert maps[:3].min() > 0 and maps[3:].max() == 0


@torch.no_grad()
def test_recordings_are_left_in_any_order() -> None:
    network = tiny_unet()
    first, second = recording(network, 2), recording(network, 2)
    early, late = first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    network(*inputs())
    second.__exit__(None, None, None)
    network(*inputs())
    assert early.sides == () and late.sides == (16, 8)


@torch.no_grad()
def test_recording_changes_nothing() -> None:
    network, given = tiny_unet(), inputs()
    processors = {name: layer.processor for name, layer in layers_of(network).items()}
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    plain = network(*given).sample
    with recording(network, 2), recording(network, 1):
        recorded = network(*given).sample
    assert torch.equal(plain, recorded)
    with pytest.raises(RuntimeError, match="stop"), recording(network, 2):
        raise RuntimeError("stop")
    for name, layer in layers_of(network).items():
        assert layer.processor is processors[name]
    assert all(torch.equal(weights[name], now) for name, now in network.state_dict().items())


def test_no_graph_is_kept() -> None:
    network = tiny_unet()
    with recording(network, 2) as recorder:
        network(*inputs()).sample.sum().backward()
    assert not recorder.mean(8).requires_grad


@pytest.mark.parametrize("make", [tiny_sd3, tiny_flux])
def test_models_without_cross_attention_are_refused(make: Callable[[], nn.Module]) -> None:
    with (
        pytest.raises(InputError, match="has no cross-attention, its text and picture attend"),
        recording(make(), 1),
    ):
        pass


def test_a_picture_that_is_not_square_is_refused() -> None:
    with pytest.raises(InputError, match="expected a square picture, found one of 8 positions"):
        Recorder(1).add(torch.zeros(1, 1, 8, 3))


def test_a_picture_comes_with_the_maps_of_its_words(
    backbone: Backbone, robot: ConceptNeurons
) -> None:
    assert resolutions(backbone) == (8, 4)
    maps = attention_maps(backbone, PROMPT, 3, robot, 1.5, steps=2)
    assert maps.tokens == ("a", "photo", "of", "a", "sks", "robot")
    assert maps.maps.shape == (6, 8, 8)
    assert 0 < maps.maps.sum(0).max() < 1  # start and end have their share
    (picture,) = generate(backbone, PROMPT, [3], neurons=robot, strength=1.5, steps=2)
    assert np.array_equal(np.asarray(maps.image), np.asarray(picture.image))
    assert attention_maps(backbone, PROMPT, steps=2, resolution=4).maps.shape == (6, 4, 4)


def test_the_same_arguments_give_the_same_maps(backbone: Backbone, robot: ConceptNeurons) -> None:
    weights = {name: weight.clone() for name, weight in projections(backbone).items()}
    before, after = (attention_maps(backbone, PROMPT, 0, n, steps=2) for n in (None, robot))
    again = attention_maps(backbone, PROMPT, steps=2)
    assert torch.equal(before.maps, again.maps) and not torch.equal(before.maps, after.maps)
    assert all(torch.equal(weights[name], now) for name, now in projections(backbone).items())


def test_only_the_half_with_the_prompt_counts(backbone: Backbone) -> None:
    """Of one step, whose latents are the noise, guidance decides what follows but not the map."""
    guided, plain = (
        attention_maps(backbone, PROMPT, steps=1, guidance=guidance) for guidance in (7.0, 1.0)
    )
    torch.testing.assert_close(guided.maps, plain.maps)


def test_long_prompts_have_maps_of_what_is_read(
    backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    room = backbone.tokenizer.model_max_length - 2
    maps = attention_maps(backbone, " ".join(["mug"] * (room + 3)), steps=1)
    assert maps.tokens == ("mug",) * room and len(maps.maps) == room
    assert "what follows has no effect" in caplog.text


def test_bad_input_is_refused(backbone: Backbone) -> None:
    with pytest.raises(InputError, match=r"resolution: expected one that .* \(8, 4\), found 16"):
        attention_maps(backbone, PROMPT, resolution=16)
    with pytest.raises(InputError, match="prompt '': expected at least one word to map, found"):
        attention_maps(backbone, "")
    with pytest.raises(InputError, match="strength: is of neurons, but none are given"):
        attention_maps(backbone, PROMPT, strength=1.0)


def photographs(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (count, 20, 30, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


def test_photographs_have_maps(backbone: Backbone, robot: ConceptNeurons) -> None:
    images = photographs(3)
    first, again = (photo_maps(backbone, images, PROMPT, timesteps=[300], seed=1) for _ in "ab")
    assert len(first) == 3 and first[0].image.size == (16, 16)
    assert first[0].tokens[-1] == "robot" and first[0].maps.shape == (6, 8, 8)
    assert all(torch.equal(a.maps, b.maps) for a, b in zip(first, again, strict=True))
    other = photo_maps(backbone, images, PROMPT, timesteps=[300], seed=2)
    assert not torch.equal(first[0].maps, other[0].maps)
    after = photo_maps(backbone, images, PROMPT, robot, timesteps=[300], seed=1)
    with shut(backbone, robot):
        inside = photo_maps(backbone, images, PROMPT, timesteps=[300], seed=1)
    assert not torch.equal(first[0].maps, after[0].maps)
    assert torch.equal(inside[0].maps, after[0].maps)


def test_maps_of_several_timesteps_are_their_mean(backbone: Backbone) -> None:
    images = photographs(1)
    both, first, last = (
        photo_maps(backbone, images, PROMPT, timesteps=t)[0].maps for t in ([10, 900], [10], [900])
    )
    torch.testing.assert_close(both, (first + last) / 2)


def test_batches_make_no_difference(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = photo_maps(backbone, photographs(3), PROMPT)
    monkeypatch.setattr(cones.sampling.attention, "_BATCH", 2)
    for a, b in zip(whole, photo_maps(backbone, photographs(3), PROMPT), strict=True):
        torch.testing.assert_close(a.maps, b.maps)


@pytest.mark.parametrize(
    ("count", "settings", "message"),
    [
        (0, {}, "images: expected at least one, found none"),
        (1, {"timesteps": []}, "timesteps: expected at least one, found none"),
        (1, {"timesteps": [5, 1000]}, "timestep: expected 0 to 999, found 1000"),
        (1, {"resolution": 3}, "resolution: expected one that"),
        (1, {"prompt": " "}, "prompt ' ': expected at least one word"),
        (1, {"seed": 2**64}, "seed: expected 0 to 1099511627776, found 18446744073709551616"),
    ],
)
def test_bad_photographs_are_refused(
    backbone: Backbone, count: int, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        photo_maps(backbone, photographs(count), **{"prompt": PROMPT, **settings})
