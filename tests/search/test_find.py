"""Finding on a tiny random model: exact, deterministic, and it never touches the model."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline

from cones.errors import ConesError, InputError
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import to_bytes
from cones.neurons.projections import projections
from cones.neurons.shutting import shut
from cones.search import loss
from cones.search.batches import HELD_OUT, PRIOR_BATCHES
from cones.search.calibration import STRENGTHS, choose_count, choose_strength
from cones.search.config import DENSITIES, FindConfig
from cones.search.find import find
from cones.search.objective import GRAM_BATCHES, ImplantingLoss
from cones.search.prior import prior_examples
from cones.subjects.subject import TEMPLATES, Subject

QUICK = FindConfig(density=0.03, steps=6, batch=2, prior_batch=2, prior_images=2)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture(scope="module")
def subject() -> Subject:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(3)]
    return Subject(tuple(images), "robot", "sks")


@pytest.fixture(scope="module")
def objective(backbone: Backbone, subject: Subject) -> ImplantingLoss:
    return ImplantingLoss.of(backbone, [subject], QUICK, class_images={"robot": subject.images[:2]})


def state(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in backbone.denoiser.state_dict().items()}


def test_the_gradient_is_that_of_the_loss(objective: ImplantingLoss) -> None:
    """Against a difference quotient along the gradient itself."""
    losses, gradient = objective.gradient(objective.theta, 0)
    total = sum(losses.values()).item()
    step = 1e-2 * gradient / gradient.norm()
    higher, lower = (
        sum(objective.gradient(objective.theta + sign * step, 0)[0].values()).item()
        for sign in (1, -1)
    )
    assert (higher - lower) / 2e-2 == pytest.approx(gradient.norm().item(), rel=0.02)
    assert total > 0


def test_shutting_is_what_the_search_computed_with(
    backbone: Backbone, objective: ImplantingLoss, subject: Subject
) -> None:
    neurons = find(backbone, subject, QUICK)
    flat = torch.cat([torch.from_numpy(~m).flatten() for m in neurons.masks().values()])
    names = list(neurons.masks())
    order = [names.index(layer) for layer in objective.shapes]
    parts = torch.split(flat, [a * b for a, b in neurons.shapes.values()])
    weights = objective.theta * torch.cat([parts[k] for k in order])
    sample = objective.batches.draw(3)
    inside = torch.cat(objective.errors(weights, sample))
    with shut(backbone, neurons, strength=1.0):
        outside = loss.squared_error(loss.predict(backbone, sample.batch), sample.target)
    torch.testing.assert_close(inside, outside)


@pytest.mark.parametrize("algorithm", ["mask-in-loop", "one-pass", "paper"])
@pytest.mark.parametrize("layers", ["text", "all"])
def test_every_algorithm_finds_exactly_the_asked_density(
    backbone: Backbone, subject: Subject, algorithm: str, layers: str
) -> None:
    before = state(backbone)
    config = replace(QUICK, algorithm=algorithm, layers=layers)
    neurons = find(backbone, subject, config)
    assert len(neurons) == round(0.03 * neurons.size)
    assert neurons.size == sum(w.numel() for w in projections(backbone, layers).values())
    assert neurons.subjects[0].token == "sks"
    assert json.loads(neurons.info["config"])["algorithm"] == algorithm
    after = backbone.denoiser.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("layers", ["text", "all"])
def test_reconstruction_shuts_at_most_the_asked_density(
    backbone: Backbone, subject: Subject, layers: str
) -> None:
    before = state(backbone)
    config = FindConfig(
        algorithm="reconstruct", layers=layers, density=0.03, steps=4, batch=2, prior_batch=2,
        prior_images=2,
    )  # fmt: skip
    assert config.distill
    neurons = find(backbone, subject, config)
    assert 0 < len(neurons) <= round(0.03 * neurons.size)
    assert to_bytes(neurons) == to_bytes(find(backbone, subject, config))
    after = backbone.denoiser.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_grams_are_of_what_the_projections_read(objective: ImplantingLoss) -> None:
    grams = objective.grams(objective.theta)
    assert list(grams) == list(objective.shapes)
    samples = [objective.batches.draw(step) for step in range(GRAM_BATCHES)]
    states = torch.stack([sample.batch.states.states for sample in samples]).flatten(0, 2)
    wanted = states.T @ states
    for layer in projections(objective.backbone):  # the text's all read the prompts' states
        torch.testing.assert_close(grams[layer], wanted, rtol=1e-4, atol=1e-4)


def test_one_seed_gives_one_file(backbone: Backbone, subject: Subject) -> None:
    first, again, other = (find(backbone, subject, replace(QUICK, seed=seed)) for seed in (5, 5, 6))
    assert to_bytes(first) == to_bytes(again)
    assert first != other


class Curve:
    """An objective whose loss at each strength is given; its one weight is shut."""

    def __init__(self, losses: dict[float, float]) -> None:
        self.theta, self.losses, self.config = torch.ones(1), losses, QUICK

    def held_out(self, weights: torch.Tensor) -> dict[str, float]:
        return {"subject": self.losses[1 - weights.item()], "prior": 0.0}


@pytest.mark.parametrize(
    ("losses", "in_loop", "wanted"),
    [
        ((1.0, 0.6, 0.5, 0.5, 0.6, 0.7, 0.8), 1.0, 1.5),  # as strong as it goes
        ((1.0, 0.6, 0.5, 0.5, 0.6, 0.7, 0.8), 0.75, 1.0),  # 1.125 is the most
        ((1.0, 0.6, 0.5, 0.5, 0.6, 0.7, 0.79), 2.0, 2.0),
        ((1.0, 0.6, 0.5, 0.7, 0.9, 1.2, 1.5), 1.0, 1.25),  # at 1.5 too little is left
        ((1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6), 1.0, 0.75),  # all do harm: the least
        ((1.0, math.nan, 0.9, math.nan, math.inf, 1.0, 1.0), 1.0, 1.0),
    ],
)
def test_the_recommended_strength_is_the_greatest_that_keeps_the_gain(
    losses: tuple[float, ...], in_loop: float, wanted: float
) -> None:
    curve = Curve(dict(zip((0.0, *STRENGTHS), losses, strict=True)))
    strength, report = choose_strength(curve, torch.tensor([0]), in_loop)
    assert strength == wanted
    tried = report["strengths"]
    assert report["before"] == tried["0"] and report["after"] == tried[f"{wanted:g}"]
    json.dumps(report, allow_nan=False)


def test_without_any_finite_loss_the_search_ends_with_what_to_do() -> None:
    for before, where in ((1.0, "at every strength"), (math.nan, "with nothing shut")):
        curve = Curve({0.0: before, **dict.fromkeys(STRENGTHS, math.nan)})
        with pytest.raises(ConesError, match=f"{where}; use --mixed_precision no"):
            choose_strength(curve, torch.tensor([0]))


@pytest.mark.parametrize("algorithm", ["mask-in-loop", "reconstruct", "one-pass"])
def test_a_density_is_found_by_itself(backbone: Backbone, subject: Subject, algorithm: str) -> None:
    config = replace(QUICK, algorithm=algorithm, density="auto", distill=None)
    neurons = find(backbone, subject, config)
    assert 0 < len(neurons) <= round(DENSITIES[-1] * neurons.size)
    if algorithm != "reconstruct":
        assert len(neurons) in [round(density * neurons.size) for density in DENSITIES]
    assert to_bytes(neurons) == to_bytes(find(backbone, subject, config))


class Chosen:
    """An objective whose loss depends on how many weights are shut, as `losses` says."""

    def __init__(self, losses: dict[int, float]) -> None:
        self.theta, self.losses, self.config = torch.ones(1000), losses, QUICK

    def held_out(self, weights: torch.Tensor) -> dict[str, float]:
        return {"subject": self.losses[int((weights == 0).sum())], "prior": 0.0}


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ({0: 1.0, 5: 0.8, 10: 0.52, 20: 0.5, 50: 0.51}, 10),  # 96 % of the greatest gain
        ({0: 1.0, 5: 0.8, 10: 0.6, 20: 0.5, 50: 0.51}, 20),
        ({0: 1.0, 5: 1.2, 10: 1.1, 20: 1.3, 50: 1.5}, 10),  # all do harm: the least
        ({0: 1.0, 5: math.nan, 10: math.inf, 20: 0.9, 50: math.nan}, 20),
    ],
)
def test_the_fewest_neurons_that_do_nearly_all(losses: dict[int, float], wanted: int) -> None:
    counts = [count for count in losses if count]
    assert choose_count(Chosen(losses), torch.arange, counts, 1.0) == wanted


def test_distillation_costs_nothing_before_anything_is_shut(objective: ImplantingLoss) -> None:
    losses, _ = objective.gradient(objective.theta, 1)
    assert losses["prior"].item() == pytest.approx(0, abs=1e-9)


def test_the_naive_searches_have_a_prior_with_a_gradient() -> None:
    assert FindConfig().distill
    assert not FindConfig(algorithm="paper").distill
    assert not FindConfig(algorithm="one-pass").distill


def test_the_prior_of_the_paper_holds_class_images_only(
    backbone: Backbone, subject: Subject
) -> None:
    """The subject's own photographs under the class's prompt would teach the class its look."""
    prior = prior_examples(backbone, subject, subject.images[:2], False, 0)
    assert len(prior.means) == 2 and len(prior.states) == len(TEMPLATES)


def test_a_model_of_another_type_can_be_searched(subject: Subject) -> None:
    half = load_backbone(tiny_pipeline().to(torch.bfloat16))
    assert len(find(half, subject, QUICK)) > 0


def test_batches_differ_from_step_to_step_and_from_the_held_out(
    objective: ImplantingLoss,
) -> None:
    first, second, held_out = (objective.batches.draw(k).batch.noise for k in (0, 1, HELD_OUT))
    assert not torch.equal(first, second) and not torch.equal(first, held_out)
    assert torch.equal(first, objective.batches.draw(0).batch.noise)


def test_a_distilled_prior_returns_and_another_does_not(
    backbone: Backbone, subject: Subject
) -> None:
    for distill in (True, False):
        config = replace(QUICK, distill=distill)
        objective = ImplantingLoss.of(backbone, [subject], config)
        first, again = (objective.batches.draw(step) for step in (0, PRIOR_BATCHES))
        assert not torch.equal(first.batch.noise[0], again.batch.noise[0])
        assert torch.equal(first.batch.noise[-1], again.batch.noise[-1]) == distill
        assert torch.equal(first.target[-1], again.target[-1]) == distill


def test_class_images_may_be_given(backbone: Backbone, subject: Subject) -> None:
    given = find(backbone, subject, QUICK, class_images={"robot": subject.images[:2]})
    assert given != find(backbone, subject, QUICK)


def test_a_density_of_no_neuron_is_refused_before_anything_is_drawn(
    backbone: Backbone, subject: Subject
) -> None:
    told: list[str] = []
    with pytest.raises(InputError, match="is not one neuron; expected at least"):
        config = replace(QUICK, density=1e-12)
        find(backbone, subject, config, on_progress=lambda stage, *_: told.append(stage))
    assert told == []


def test_a_token_of_several_pieces_is_refused(backbone: Backbone, subject: Subject) -> None:
    with pytest.raises(InputError, match="expected one token, found"):
        find(backbone, replace(subject, token="unheardof"), QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"density": 1.5}, "density: expected more than 0 and less than 1, found 1.5"),
        ({"steps": 0}, "steps: expected at least 1, found 0"),
        (
            {"algorithm": "guess"},
            "algorithm: expected one of mask-in-loop, rec",
        ),
        ({"rate": 0.0}, "rate: expected more than 0, found 0.0"),
        ({"strength_in_loop": 3.0}, "strength_in_loop: expected more than 0 and at most 2"),
    ],
)
def test_a_bad_setting_is_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        replace(QUICK, **change)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_saved_file_draws_what_the_found_neurons_draw(
    backbone: Backbone, subject: Subject, tmp_path: Path
) -> None:
    neurons = find(backbone, subject, QUICK)
    neurons.save(tmp_path / "a.cones.safetensors")
    loaded: ConceptNeurons = sys.modules["cones.neurons.neuronfile"].load(
        tmp_path / "a.cones.safetensors"
    )
    assert loaded == neurons and loaded.info == neurons.info


@pytest.fixture(scope="module")
def other(subject: Subject) -> Subject:
    return replace(subject, images=subject.images[:1], class_noun="mug", token="zas")


def test_several_subjects_take_turns(backbone: Backbone, subject: Subject, other: Subject) -> None:
    images = {noun: subject.images[:1] for noun in ("robot", "mug")}
    both = ImplantingLoss.of(backbone, [subject, other], QUICK, class_images=images)
    assert len(both.batches.subjects[0].means) == 3 and len(both.batches.subjects[1].means) == 1
    latents = both.batches.subjects[1].means
    assert torch.equal(both.batches.draw(1).batch.latents[:1], latents)
    whole = both.held_out(both.theta)
    alone = [both.held_out(both.theta, number) for number in (0, 1)]
    for key in ("subject", "prior"):
        mean = sum(figures[key] for figures in alone) / 2
        assert whole[key] == pytest.approx(mean, rel=1e-4, abs=1e-9)


def test_a_joint_search_finds_as_many_neurons_as_two_alone(
    backbone: Backbone, subject: Subject, other: Subject
) -> None:
    both = find(backbone, [subject, other], QUICK)
    assert len(both) == round(2 * 0.03 * both.size)
    assert [each.token for each in both.subjects] == ["sks", "zas"]


def test_a_search_may_begin_with_neurons(
    backbone: Backbone, subject: Subject, other: Subject
) -> None:
    first = find(backbone, subject, QUICK)
    union = first | find(backbone, other, replace(QUICK, seed=1))
    begun = find(backbone, [subject, other], replace(QUICK, steps=1), start=union)
    assert len(begun & union) > 0.9 * len(union)  # one step can hardly move them
    scratch = find(backbone, [subject, other], replace(QUICK, steps=1))
    assert len(scratch & union) < 0.5 * len(union)


def test_a_search_may_begin_with_neurons_of_the_text_alone(
    backbone: Backbone, subject: Subject
) -> None:
    text = find(backbone, subject, replace(QUICK, layers="text"))
    once = replace(QUICK, steps=1, density=0.01)
    begun, scratch = (find(backbone, subject, once, start=start) for start in (text, None))
    assert begun.shapes == scratch.shapes != text.shapes
    assert len(begun & text) > 2 * len(scratch & text)
    with pytest.raises(InputError, match=r"start: has neurons in .*attn1.* expected 'all'"):
        find(backbone, subject, replace(once, layers="text"), start=scratch)


def test_subjects_that_cannot_be_told_apart_are_refused(
    backbone: Backbone, subject: Subject, other: Subject
) -> None:
    with pytest.raises(InputError, match="'sks': stands for two subjects "):
        find(backbone, [subject, replace(other, token="sks")], QUICK)
    with pytest.raises(InputError, match="expected at least one, found none"):
        find(backbone, [], QUICK)
    with pytest.raises(InputError, match="density"):
        find(backbone, [subject, other], replace(QUICK, density=0.5))
    with pytest.raises(InputError, match="start: only mask-in-loop"):
        neurons = find(backbone, subject, QUICK)
        find(backbone, subject, replace(QUICK, algorithm="paper"), start=neurons)
