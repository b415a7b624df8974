"""Attention maps are those of the layers, change nothing, and separate what they should."""

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny import tiny_flux, tiny_folder, tiny_pipeline, tiny_pixart, tiny_sd3, tiny_unet
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import cones.sampling.attention
from cones.cli.program import app
from cones.errors import InputError
from cones.evaluation import localisation
from cones.evaluation.localisation import auroc, best_iou, localise
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.projections import projections, shapes
from cones.neurons.shutting import shut
from cones.sampling.attention import (
    AttentionMaps,
    Recorder,
    attention_maps,
    photo_maps,
    recording,
    resolutions,
)
from cones.sampling.generate import generate
from cones.toybox.reference import RENDERS

ROBOT, MUG = SubjectInfo("sks", "robot"), SubjectInfo("zas", "mug")
PROMPT = "a photo of a sks robot"
PHOTOS = Path(__file__).parents[2] / "examples" / "subjects" / "dev" / "robot-2"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


def some_neurons(backbone: Backbone, *subjects: SubjectInfo, step: int = 2) -> ConceptNeurons:
    sizes = shapes(projections(backbone))
    index = {layer: np.arange(0, out * into, step) for layer, (out, into) in sizes.items()}
    return ConceptNeurons(sizes, index, subjects=subjects)


@pytest.fixture(scope="module")
def robot(backbone: Backbone) -> ConceptNeurons:
    return some_neurons(backbone, ROBOT)


def inputs(count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(count, 4, 16, 16), torch.tensor(500), torch.randn(count, 6, 32)


def layers_of(network: nn.Module) -> dict[str, Any]:
    return {name: layer for name, layer in network.named_modules() if name.endswith("attn2")}


# -- recording -------------------------------------------------------------------------------------


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


# -- attention_maps --------------------------------------------------------------------------------


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


# -- photo_maps ------------------------------------------------------------------------------------


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


# -- the numbers -----------------------------------------------------------------------------------


@st.composite
def scored(draw: st.DrawFn) -> tuple[list[float], list[bool]]:
    """Scores with many ties, and a mask with something in and outside it."""
    inside, outside = (
        draw(st.lists(st.integers(0, 4).map(float), min_size=1, max_size=8)) for _ in "ab"
    )
    return inside + outside, [True] * len(inside) + [False] * len(outside)


@given(scored())
def test_figures_are_those_of_a_brute_force_count(given: tuple[list[float], list[bool]]) -> None:
    scores, mask = given
    inside = [score for score, is_in in zip(scores, mask, strict=True) if is_in]
    outside = [score for score, is_in in zip(scores, mask, strict=True) if not is_in]
    wins = [(a > b) + (a == b) / 2 for a, b in product(inside, outside)]
    assert auroc(scores, np.array(mask)) == pytest.approx(np.mean(wins))
    ious = [
        sum(a >= least for a in inside) / (len(inside) + sum(b >= least for b in outside))
        for least in scores
    ]
    assert best_iou(scores, np.array(mask)) == pytest.approx(max(ious))


def test_what_has_no_figure_is_refused() -> None:
    scores = np.zeros((2, 2))
    for figure in (auroc, best_iou):
        for inside, found in ((True, "all"), (False, "none")):
            with pytest.raises(InputError, match=f"inside and outside, found {found} inside"):
                figure(scores, np.full((2, 2), inside))
        with pytest.raises(InputError, match=r"mask: expected the shape \[2, 2\] of the map"):
            figure(scores, np.ones(3, dtype=bool))
        with pytest.raises(InputError, match="map: expected finite numbers, found NaN"):
            figure([0.0, np.nan], np.array([True, False]))


def test_nothing_shut_gains_nothing(backbone: Backbone, robot: ConceptNeurons) -> None:
    nothing = ConceptNeurons(robot.shapes, {}, subjects=(ROBOT,))
    found = localise(backbone, nothing, PHOTOS, RENDERS, num=3, timesteps=[200])
    assert [each.word for each in found] == ["sks", "robot"]
    for each in found:
        assert each.auroc.gain == each.iou.gain == (0.0, 0.0)
        assert each.auroc.before == each.auroc.after
    again = localise(backbone, robot, PHOTOS, RENDERS, num=3, timesteps=[200])
    assert again[0].auroc.before == found[0].auroc.before
    assert again[0].auroc.gain[0] == pytest.approx(
        again[0].auroc.after[0] - again[0].auroc.before[0]
    )
    assert again[0].auroc.gain[0] != 0


def test_maps_are_held_against_the_subjects_mask(
    backbone: Backbone, robot: ConceptNeurons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps that know the mask: the token's then scores high, the noun's low, after shutting."""
    known = RENDERS.read(PHOTOS)
    assert known is not None
    masks = [torch.from_numpy(mask) for _, mask in RENDERS.draw_masked(known, 4, 0)]

    def knowing(*given: Any) -> Iterator[AttentionMaps]:
        image, shut = Image.new("RGB", (64, 64)), given[3] is not None
        for mask in masks:
            coarse = nn.functional.avg_pool2d(mask[None].float(), 4)[0]
            words = torch.stack([*[torch.zeros(16, 16)] * 4, coarse, 1 - coarse])
            yield AttentionMaps(("a", "photo", "of", "a", "sks", "robot"), words * shut, image)

    monkeypatch.setattr(localisation, "photo_maps", lambda *given: list(knowing(*given)))
    token, noun = localise(backbone, robot, PHOTOS, RENDERS, num=4)
    assert token.auroc.before == noun.auroc.before == (0.5, 0.0)
    assert token.auroc.after[0] > 0.97 and token.iou.after[0] > 0.8
    assert noun.auroc.after[0] < 0.03


def test_what_cannot_be_localised_is_refused(
    backbone: Backbone, robot: ConceptNeurons, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="expected the look of a rendered subject, found none"):
        localise(backbone, robot, tmp_path, RENDERS)
    with pytest.raises(InputError, match="shows a robot, the neurons are of a mug; name the"):
        localise(backbone, some_neurons(backbone, MUG), PHOTOS, RENDERS)
    with pytest.raises(InputError, match="those of one subject to localise, found sks, zas"):
        localise(backbone, some_neurons(backbone, ROBOT, MUG), PHOTOS, RENDERS)
    with pytest.raises(InputError, match="num: expected 1 to 10000, found 0"):
        localise(backbone, robot, PHOTOS, RENDERS, num=0)


# -- the command -----------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    options = ("--model", tiny_folder(), "--steps", 2)
    return CliRunner().invoke(app, [str(each) for each in ("attention", *arguments, *options)])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    backbone = load_backbone(str(tiny_folder()))
    folder = tmp_path_factory.mktemp("neurons")
    paths = folder / "robot", folder / "mug", folder / "nobody"
    for path, subjects in zip(paths, ((ROBOT,), (MUG,), ()), strict=True):
        some_neurons(backbone, *subjects, step=3).save(path)
    return paths


def test_the_command_draws_a_figure(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    robot, mug, _ = files
    out = tmp_path / "new" / "maps.png"
    prompt = "a {} in the snow"
    result = run("--neurons", robot, "--neurons", mug, "--prompt", prompt, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    about = json.loads(result.stdout)
    words = "a sks robot and a zas mug in the snow"
    assert about == {
        "figure": str(out),
        "prompt": words,
        "seed": 0,
        "tokens": words.split(),
        "resolution": 8,
        "localisation": None,
    }
    with Image.open(out) as figure:
        assert figure.format == "PNG" and figure.width > 3 * figure.height


def test_the_command_measures_on_renders(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    options = ("--images", PHOTOS, "--num_renders", 2, "--resolution", 4, "--out", tmp_path)
    result = run("--neurons", files[0], *options)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["word", "figure", "before", "after", "gain"]
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["sks", "AUROC"], ["sks", "best"], ["robot", "AUROC"], ["robot", "best"]
    ]  # fmt: skip
    assert lines[5] == str(tmp_path / "attention.png") and (tmp_path / "attention.png").is_file()
    about = json.loads(run("--neurons", files[0], *options, "--json").stdout)
    assert about["resolution"] == 4
    (token, _) = about["localisation"]
    assert token["word"] == "sks" and 0 < token["auroc"]["after"] < 1
    assert {"before", "gain", "before_se", "gain_se"} <= token["iou"].keys()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ((), 2, "FILE: is missing; expected neuron files"),
        (("--neurons", "robot", "--neurons", "mug", "--images", PHOTOS), 2, "--images is of one"),
        (("--neurons", "nobody"), 2, "{} in --prompt stands for a subject: the neurons name none"),
        (
            ("--neurons", "robot", "--resolution", 5),
            1,
            "cones: --resolution: expected one that",
        ),
        (("--neurons", "robot", "--prompt", ""), 1, "cones: prompt '': expected at least one word"),
        (("--neurons", "robot", "--images", "none"), 1, "expected the look of a rendered subject"),
        (("--neurons", "none"), 1, "none: "),
    ],
)
def test_wrong_usage_is_one_line(
    files: tuple[Path, Path, Path], tmp_path: Path, options: Any, status: int, message: str
) -> None:
    named = [files[0].parent / each if each in ("robot", "mug", "nobody") else each
             for each in options]  # fmt: skip
    result = run(*named, "--out", tmp_path / "maps.png")
    assert result.exit_code == status, result.output
    assert message in result.stderr.splitlines()[-1]
    assert not (tmp_path / "maps.png").exists()
