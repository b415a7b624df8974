"""The evaluation: prompts, features, the ceiling, and the whole on a tiny random model."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from quick_protocol import QUICK, Colours
from safetensors.torch import load_file, save_file
from tiny import tiny_folder, tiny_pipeline, tiny_unet
from torch import Tensor
from typer.testing import CliRunner

from cones.cli.program import app
from cones.errors import BaseModelError, InputError
from cones.evaluation import (
    GENERAL_PROMPTS,
    PROMPTS,
    ClipFeatures,
    Evaluator,
    Scorer,
    evaluate,
    named_protocol,
)
from cones.evaluation.dino import DinoFeatures
from cones.evaluation.metrics import presence
from cones.evaluation.protocol import check_prompts, filled
from cones.methods.controls import random_neurons
from cones.methods.trained_weights import TunedWeights
from cones.models.backbone import Backbone
from cones.models.images import to_tensor
from cones.models.loading import load_backbone
from cones.models.prompts import RARE_TOKENS
from cones.neurons.concept_neurons import BaseInfo, SubjectInfo
from cones.neurons.neuronfile import to_bytes
from cones.neurons.projections import fingerprint, projections
from cones.subjects.photos import load_photos
from cones.toybox.captions import WORDS
from cones.toybox.models import new_clip, new_text_tower
from cones.toybox.reference import fresh_renders, named_classes, named_place, read_subject
from cones.toybox.render import look_from_seed, render_subject, save_subject
from cones.toybox.tokenizer import build_tokenizer
from cones.toybox.world import CLASSES, PLACES, SIZE

SUBJECT = SubjectInfo("sks", "robot")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_subject(render_subject("robot", look_from_seed(3), 3, 3), tmp_path / "robot")
    return tmp_path / "robot"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random CLIP with the toybox's tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = build_tokenizer(folder)
    tokenizer.save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "projection_dim": 8}
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    text = {**small, **heads, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 32}
    vision = {**small, **heads, "image_size": SIZE, "patch_size": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    return folder


def test_the_prompts_name_every_place_and_differ() -> None:
    single = [prompt for prompt in PROMPTS if "{other}" not in prompt]
    assert len(PROMPTS) == len(set(PROMPTS)) == 10
    assert {named_place(prompt) for prompt in single} == set(PLACES)
    assert sum("{other}" in prompt for prompt in PROMPTS) >= 2


@pytest.mark.parametrize("noun", CLASSES)
def test_prompts_stay_in_the_toybox_vocabulary(noun: str) -> None:
    check_prompts(PROMPTS)
    for prompt in PROMPTS:
        named, plain = filled(prompt, f"sks {noun}", [noun]), filled(prompt, noun, [noun])
        assert plain == named.replace("sks ", "")
        assert set(plain.replace(",", " ,").split()) <= set(WORDS) - set(RARE_TOKENS)
        assert len(named_classes(plain)) == 1 + ("{other}" in prompt)
    for prompt in GENERAL_PROMPTS:
        assert not set(RARE_TOKENS) & set(filled(prompt, noun, [noun]).split())


@pytest.mark.parametrize("prompt", ["a photo of a sks robot", "a {other}", ""])
def test_a_prompt_without_the_subject_is_refused(prompt: str) -> None:
    with pytest.raises(InputError, match="where the subject is to stand"):
        check_prompts([prompt])


@pytest.mark.parametrize("prompt", ["a {} on {place}", "a {} and {0.x}", "a {} {", "{} {}"])
def test_other_braces_are_refused(prompt: str) -> None:
    with pytest.raises(InputError, match="braces"):
        filled(prompt, "sks robot", ["robot"])


def test_no_prompts_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        check_prompts([])


def test_clip_features_are_unit_vectors_and_do_not_depend_on_the_batch(clip: Path) -> None:
    pictures = list(render_subject("cat", look_from_seed(1), 5, 1).images)
    texts = ["a cat", "a photo of a robot in the snow", "a mug"]
    at_once, by_two = ClipFeatures(clip), ClipFeatures(clip, batch=2)
    for found, parts in (
        (at_once.images(pictures), by_two.images(pictures)),
        (at_once.texts(texts), by_two.texts(texts)),
    ):
        assert found.dtype == torch.float32 and found.shape[1] == 8
        assert torch.allclose(found.norm(dim=1), torch.ones(len(found)))
        assert torch.allclose(found, parts, atol=1e-6)
    assert len(at_once.images(pictures)) == 5 and len(at_once.texts(texts)) == 3


def test_a_clip_without_a_preprocessor_reads_pictures_as_the_toybox_does(clip: Path) -> None:
    picture = render_subject("cat", look_from_seed(1), 1, 1).images[0]
    preprocess = ClipFeatures(clip).preprocess
    assert torch.equal(preprocess([picture]), to_tensor(np.asarray(picture)[None]))
    assert preprocess([picture.resize((90, 70))]).shape == (1, 3, SIZE, SIZE)


def test_a_clip_with_a_preprocessor_uses_it(clip: Path, tmp_path: Path) -> None:
    for path in clip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    features = ClipFeatures(tmp_path)
    white = features.preprocess([Image.new("RGB", (80, 80), "white")])
    assert torch.equal(white, torch.ones(1, 3, SIZE, SIZE))
    assert features.images([Image.new("RGB", (200, 100))]).shape == (1, 8)


def test_a_missing_clip_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened as a CLIP") as caught:
        ClipFeatures(tmp_path / "none")
    assert "\n" not in str(caught.value)


def test_a_clip_with_convolutions_serves_too(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    new_clip(tokenizer).save_pretrained(tmp_path)
    features = ClipFeatures(tmp_path)
    assert features.images([Image.new("RGB", (80, 64))]).shape == (1, 256)
    assert features.texts(["a robot", "a mug"]).shape == (2, 256)


def test_a_model_that_is_no_clip_is_one_line(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    new_text_tower(tokenizer).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected a CLIP, found CLIPTextModel"):
        ClipFeatures(tmp_path)


def test_places_and_classes_are_read_from_a_prompt() -> None:
    assert named_place("in the forest, a robot in the snow") == "forest"
    assert named_place("a robot at night") == "night"
    assert named_place("a robot") is None
    assert named_classes("there is a mug and a robot, a carpet and a mug") == ["mug", "robot"]


def test_fresh_renders_show_what_the_prompt_asks_for_and_no_photograph(photos: Path) -> None:
    known = read_subject(photos)
    assert known is not None and known == ("robot", look_from_seed(3))
    texts = ["a robot in the snow", "a robot and a mug at night", "a robot"]
    pictures = fresh_renders([known], texts, range(4))
    assert len(pictures) == 12
    assert [p.tobytes() for p in pictures] == [
        p.tobytes() for p in fresh_renders([known], texts, range(4))
    ]
    assert len({p.tobytes() for p in pictures}) == 12
    snow, night = (np.mean([np.asarray(p) for p in pictures[k : k + 4]]) for k in (0, 4))
    assert snow > night + 60
    kept = {photo.tobytes() for photo in render_subject(*known, 20, 3).images}
    assert not kept & {p.tobytes() for p in pictures}


def test_metadata_without_a_look_gives_no_ceiling(tmp_path: Path) -> None:
    assert read_subject(tmp_path) is None
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "a robot"}\n')
    assert read_subject(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "nonsense", '{"class": "robot", "look": {}}', '{"look": {"main_rgb": 3}}']
)
def test_damaged_metadata_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"metadata\.jsonl"):
        read_subject(tmp_path)


def test_scores_have_standard_errors_over_the_prompts() -> None:
    black, white = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")
    red = Image.new("RGB", (4, 4), "red")
    scorer = Scorer(QUICK, [[red]], ["robot"])
    found = scorer.score([red, red, white, black], ["a", "a", "bb", "bb"])
    grey = float((Colours().images([white]) @ Colours().images([red]).T).item())
    assert found.image_alignment == pytest.approx((1 + grey) / 2)
    assert found.image_se == pytest.approx((1 - grey) / 2)
    assert scorer.score([red], ["a"]).image_se is None


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


TWO = (SubjectInfo("sks", "robot"), SubjectInfo("zas", "mug"))


def test_an_other_thing_is_no_subject() -> None:
    assert filled("a {} and a {other}", "x", ["robot"]) == "a x and a mug"
    assert filled("a {} and a {other}", "x", ["mug", "robot"]) == "a x and a car"


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


def test_presence_counts_the_likeliest_kinds_as_many_as_the_prompt_names() -> None:
    likely = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.8, 0.9]])
    assert presence(likely, [0], [1, 1]) == 0.5
    assert presence(likely, [1], [1, 1]) == 0
    assert presence(likely, [1], [2, 1]) == 0.5
    assert presence(likely, [0, 1], [2, 2]) == 0.75
    assert presence(likely, [0, 1, 2], [3, 3]) == 1


class Kinds(Colours):
    """Red is a robot, green a mug, blue a car; other texts are of no colour."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        colours = {"robot": (1, 0, 0), "mug": (0, 1, 0), "car": (0, 0, 1)}
        found = [colours.get(text.removeprefix("a photo of a "), (0, 0, 0)) for text in texts]
        return torch.tensor(found).float()


def test_a_subject_is_present_where_its_class_is_seen() -> None:
    red, green = (Image.new("RGB", (4, 4), colour) for colour in ("red", "green"))
    scorer = Scorer(replace(QUICK, features=Kinds, nouns=("mug", "car")), [[red]], ["robot"])
    assert scorer.score([red, green], ["a robot"] * 2).presence == 0.5
    assert scorer.score([green], ["a robot and a mug"]).presence == 1  # red ties with blue
    assert scorer.score([red], ["a robot"]).as_dict().keys() == {
        "text_alignment", "image_alignment", "presence"
    }  # fmt: skip


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random DINO."""
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("dino")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = ViTConfig(**small, num_attention_heads=2, image_size=SIZE, patch_size=16)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


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


def test_a_protocol_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of toybox, cones, custom-diffusion"):
        named_protocol("clip")
    with pytest.raises(InputError, match="compares by its own CLIP alone"):
        named_protocol("toybox", clip=str(tmp_path))
    protocol = named_protocol("custom-diffusion", str(tmp_path), str(tmp_path))
    with pytest.raises(InputError, match="cannot be opened as a CLIP"):
        protocol.features()
    assert protocol.dino is not None
    with pytest.raises(InputError, match="cannot be opened as a DINO"):
        protocol.dino()


# -- what a protocol is for, and whole features ----------------------------------------------------


@pytest.fixture(scope="module")
def toybox() -> Backbone:
    return load_backbone()


def test_the_protocol_of_the_toybox_refuses_other_models(backbone: Backbone, photos: Path) -> None:
    neurons, drawn = random_neurons(backbone, SUBJECT, 0.1, seed=0), []
    with pytest.raises(InputError) as error:
        evaluate(backbone, neurons, photos, on_progress=lambda *step: drawn.append(step))
    assert str(error.value) == (
        f"protocol 'toybox': is for models of the toybox alone, found {backbone.name}; for others "
        "give --protocol cones --clip FOLDER --dino FOLDER"
    )
    assert not drawn


@pytest.mark.parametrize(
    ("subject", "prompt", "message"),
    [
        (SUBJECT, "a {} on the moon", "knows the words of the toybox alone, found 'moon'"),
        (SubjectInfo("sks", "tapir"), "a {}", "knows only robot, .*found 'tapir'"),
    ],
)
def test_the_protocol_of_the_toybox_refuses_other_words(
    toybox: Backbone, photos: Path, subject: SubjectInfo, prompt: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Evaluator(toybox, [subject], [photos], [prompt], [0])
    assert Evaluator(toybox, [SUBJECT], [photos]).looks


def test_the_protocol_of_the_toybox_refuses_other_photographs(
    toybox: Backbone, photos: Path, tmp_path: Path
) -> None:
    for path in photos.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=f"that the toybox has rendered, found {tmp_path}; for"):
        Evaluator(toybox, [SUBJECT], [tmp_path])
    with pytest.raises(InputError, match="pictures of 64 x 64 pixels, found one of 80 x 64; for"):
        Evaluator(toybox, [SUBJECT], [[Image.new("RGB", (80, 64))]])
    scorer = Scorer(named_protocol("toybox"), [load_photos(photos).images], ["robot"])
    with pytest.raises(InputError, match="pictures of 64 x 64 pixels"):
        scorer.score([Image.new("RGB", (512, 512))], ["a robot"])


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


def test_scores_say_by_which_networks(clip: Path, dino: Path) -> None:
    features = {
        named_protocol("cones", str(clip), str(dino)).as_dict()["features"],
        named_protocol("cones", str(clip), str(dino)).as_dict()["features"],
        named_protocol("toybox").as_dict()["features"],
    }
    assert len(features) == 2


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "I;16", "CMYK"])
def test_features_see_pictures_of_every_mode_as_people_do(
    clip: Path, dino: Path, mode: str
) -> None:
    white = Image.new("RGB", (40, 40), "white")
    given = Image.new("I;16", (40, 40), 65535) if mode == "I;16" else white.convert(mode)
    if mode in ("RGBA", "LA"):
        given = Image.new(mode, (40, 40))  # black, and wholly transparent
    for features in (ClipFeatures(clip), DinoFeatures(dino)):
        assert torch.equal(features.images([given]), features.images([white]))


def test_what_is_no_picture_is_one_line(clip: Path) -> None:
    for given in ([], ["photo.png"], [None], [Image.new("RGB", (0, 3))], [np.zeros((4, 4, 3))]):
        with pytest.raises(InputError, match=r"^(pictures|features)"):
            ClipFeatures(clip).images(given)  # type: ignore[arg-type]


def test_a_clip_that_lacks_weights_is_refused(clip: Path, tmp_path: Path) -> None:
    for path in clip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "logit_scale": torch.tensor(1.0)}, tmp_path / "model.safetensors")
    assert ClipFeatures(tmp_path)
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 weights, such as visual_projection\.weight"):
        ClipFeatures(tmp_path)


def test_a_clip_with_damaged_weights_gives_no_scores(clip: Path) -> None:
    features = ClipFeatures(clip)
    features.model.visual_projection.weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="gives features that are NaN, infinite or zero; load an"):
        features.images([Image.new("RGB", (8, 8))])
