"""The whole evaluation on a tiny random model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from quick_protocol import QUICK
from tiny import tiny_folder, tiny_unet
from typer.testing import CliRunner

from cones.cli.program import app
from cones.errors import BaseModelError, InputError
from cones.evaluation import (
    GENERAL_PROMPTS,
    PROMPTS,
    Evaluator,
    evaluate,
    named_protocol,
)
from cones.evaluation.dino import DinoFeatures
from cones.methods.controls import random_neurons
from cones.methods.trained_weights import TunedWeights
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import BaseInfo, SubjectInfo
from cones.neurons.neuronfile import to_bytes
from cones.neurons.projections import fingerprint, projections
from cones.subjects.photos import load_photos
from cones.toybox.reference import fresh_renders
from cones.toybox.render import look_from_seed, render_subject, save_subject

SUBJECT = SubjectInfo("sks", "robot")


TWO = (SubjectInfo("sks", "robot"), SubjectInfo("zas", "mug"))


def test_an_evaluation_is_one_json_object(backbone: Backbone, photos: Path) -> None:
    neurons = random_neurons(backbone, SUBJECT, 0.3, seed=0)
    before, told = fingerprint(projections(backbone)), []
    found = evaluate(
        backbone,
        neurons,
        photos,
        PROMPTS[:2],
        range(2),
        protocol=QUICK,
        on_progress=lambda *step: told.append(step[:3]),
    )
    result = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert set(result) == {
        "text_alignment", "image_alignment", "presence", "se", "floor", "ceiling", "share", "drift",
        "strength", "density", "bytes", "n", "prompts", "seeds", "protocol",
    }  # fmt: skip
    assert result["n"] == len(found.pictures) == 4
    assert result["bytes"] == len(to_bytes(neurons))
    assert result["density"] == pytest.approx(0.3, abs=1e-3) and result["strength"] == 1
    assert result["protocol"]["name"] == "quick" and result["protocol"]["version"] == 3
    assert result["prompts"] == list(PROMPTS[:2]) and result["seeds"] == [0, 1]
    assert result["drift"] > 0 and result["floor"] != result["ceiling"]
    total = 2 * 2 * (2 + len(GENERAL_PROMPTS))
    assert told == [("draw", k + 1, total) for k in range(total)]
    assert fingerprint(projections(backbone)) == before


def test_strength_zero_is_the_floor(backbone: Backbone, photos: Path) -> None:
    neurons = random_neurons(backbone, SUBJECT, 0.3, seed=0)
    found = evaluate(backbone, neurons, photos, PROMPTS[:2], [5], strength=0, protocol=QUICK)
    assert found.scores == found.floor
    assert found.drift == pytest.approx(0, abs=1e-6)
    assert found.share is None or found.share == 0


def test_photographs_without_a_look_have_no_ceiling(backbone: Backbone, photos: Path) -> None:
    neurons = random_neurons(backbone, SUBJECT, 0.3, seed=0)
    images = [Image.open(path).convert("RGB") for path in sorted(photos.glob("*.png"))]
    found = evaluate(backbone, neurons, images, PROMPTS[:1], [0], protocol=QUICK)
    assert found.ceiling is None and found.as_dict()["share"] is None
    assert found.as_dict()["se"] == {"text_alignment": None, "image_alignment": None}


def test_only_one_subject_can_be_evaluated(backbone: Backbone, photos: Path) -> None:
    one = random_neurons(backbone, SUBJECT, 0.1, seed=0)
    two = one | random_neurons(backbone, SubjectInfo("zas", "mug"), 0.1, seed=1)
    for neurons in (two, replace(one, subjects=())):
        with pytest.raises(InputError, match="one subject"):
            evaluate(backbone, neurons, photos, protocol=QUICK)


def test_neurons_of_another_model_are_refused_before_anything_is_drawn(
    backbone: Backbone, photos: Path
) -> None:
    neurons = random_neurons(tiny_unet(cross_attention_dim=16), SUBJECT, 0.1, seed=0)
    drawn: list[object] = []
    with pytest.raises(BaseModelError, match="find the neurons in this one"):
        evaluate(backbone, neurons, photos, protocol=QUICK, on_progress=lambda *s: drawn.append(s))
    assert not drawn


def test_nothing_to_draw_or_to_compare_with_is_refused(backbone: Backbone, photos: Path) -> None:
    neurons = random_neurons(backbone, SUBJECT, 0.1, seed=0)
    with pytest.raises(InputError, match="seeds"):
        evaluate(backbone, neurons, photos, seeds=[], protocol=QUICK)
    with pytest.raises(InputError, match="photograph"):
        evaluate(backbone, neurons, [], protocol=QUICK)
    with pytest.raises(InputError, match="cuts prompts off"):
        evaluate(backbone, neurons, photos, ["a photo of " * 20 + "a {}"], protocol=QUICK)


def test_several_subjects_are_named_together_and_rendered_together(
    backbone: Backbone, photos: Path, tmp_path: Path
) -> None:
    save_subject(render_subject("mug", look_from_seed(4), 2, 4), tmp_path / "mug")
    prompts = ["a photo of a {} in the snow", "there is a {other} and a {}"]
    evaluator = Evaluator(backbone, TWO, [photos, tmp_path / "mug"], prompts, range(2), QUICK)
    assert evaluator.named[0] == "a photo of a sks robot and a zas mug in the snow"
    assert evaluator.plain[1] == "there is a car and a robot and a mug"
    assert evaluator.renders is not None and len(evaluator.renders) == 4
    looks = [("robot", look_from_seed(3)), ("mug", look_from_seed(4))]
    assert [p.tobytes() for p in evaluator.renders] == [
        p.tobytes() for p in fresh_renders(looks, evaluator.plain, range(2))
    ]
    neurons = random_neurons(backbone, TWO[0], 0.1, 0) | random_neurons(backbone, TWO[1], 0.1, 1)
    found = evaluator.evaluate(neurons)
    assert found.ceiling == evaluator.score(evaluator.renders) and found.drift > 0
    features = QUICK.features()
    means = [
        (features.images(found.pictures) @ features.images(load_photos(each).images).T).mean()
        for each in (photos, tmp_path / "mug")
    ]
    assert found.scores.image_alignment == pytest.approx(float(sum(means)) / 2, abs=1e-6)


def test_any_artifact_is_evaluated(backbone: Backbone, photos: Path) -> None:
    row = torch.ones(32)
    artifact = TunedWeights("textual_inversion", (SUBJECT,), BaseInfo(), {"sks": row})
    before = fingerprint(projections(backbone))
    evaluator = Evaluator(backbone, [SUBJECT], [photos], PROMPTS[:1], range(1), QUICK)
    found = evaluator.evaluate(artifact)
    assert found.nbytes == artifact.nbytes() and found.strength is found.density is None
    assert found.drift == pytest.approx(0, abs=1e-6)  # prompts without the token stay
    assert found.pictures[0].tobytes() != evaluator.base_pictures[0].tobytes()
    assert fingerprint(projections(backbone)) == before
    with pytest.raises(InputError, match="strength: is of neurons, but a textual_inversion artif"):
        evaluator.evaluate(artifact, strength=1.5)


def test_a_folder_of_another_class_has_no_ceiling(
    backbone: Backbone, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluator = Evaluator(backbone, [SubjectInfo("sks", "mug")], [photos], PROMPTS[:1], [0], QUICK)
    assert evaluator.ceiling is None
    assert "show a robot, the neurons are of a mug; there is no ceiling" in caplog.text


def test_a_protocol_for_photographs_adds_an_alignment_by_dino(
    backbone: Backbone, photos: Path, clip: Path, dino: Path
) -> None:
    protocol = named_protocol("cones", str(clip), str(dino))
    assert (protocol.name, protocol.version) == ("cones", 1)
    evaluator = Evaluator(
        backbone, [SUBJECT], [photos], PROMPTS[:1], [0], replace(protocol, steps=2)
    )
    found = evaluator.score(evaluator.base_pictures)
    pictures, shown = (
        DinoFeatures(dino).images(p) for p in (evaluator.base_pictures, load_photos(photos).images)
    )
    assert found.dino_alignment == pytest.approx((pictures @ shown.T).mean().item(), abs=1e-6)
    assert found.as_dict()["dino_alignment"] == found.dino_alignment
    assert pictures.shape == (1, 16) and pictures.norm().item() == pytest.approx(1)


def test_other_models_are_evaluated_by_a_clip_and_a_dino(
    photos: Path, clip: Path, dino: Path, tmp_path: Path
) -> None:
    backbone = load_backbone(tiny_folder())
    random_neurons(backbone, SUBJECT, 0.1, seed=0).save(tmp_path / "robot.cones.safetensors")
    (tmp_path / "prompts").write_text("a {} on the moon")
    options = [
        "evaluate", "--neurons", tmp_path / "robot.cones.safetensors", "--images", photos, "--json",
        "--model", tiny_folder(), "--num_images", 1, "--prompts", tmp_path / "prompts",
    ]  # fmt: skip
    refused = CliRunner().invoke(app, [str(each) for each in options])
    assert refused.exit_code == 1
    assert "give --protocol cones --clip FOLDER --dino FOLDER" in refused.stderr.splitlines()[-1]
    options += ["--protocol", "cones", "--clip", clip, "--dino", dino]
    done = CliRunner().invoke(app, [str(each) for each in options])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["protocol"] == named_protocol("cones", str(clip), str(dino)).as_dict()
    assert "dino_alignment" in told and told["protocol"]["name"] == "cones"
