"""Artifacts: applied and taken off exactly, saved and read exactly, refused in one line."""

import hashlib
import json
import warnings
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import tiny_pipeline

from cones.errors import BaseModelError, BaseModelWarning, ConesError, InputError, NeuronFileError
from cones.files.writing import safetensors_bytes
from cones.methods.artifact import Artifact, Cones, TunedWeights, load_artifact
from cones.methods.controls import random_neurons
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import BaseInfo, SubjectInfo
from cones.neurons.neuronfile import file_hash
from cones.neurons.projections import fingerprint, projections
from cones.neurons.shutting import shut
from cones.sampling.generate import generate

ROBOT = SubjectInfo("sks", "robot", "a photo of a sks robot")
LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
NORM = "unet.conv_norm_out.weight"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(tiny_pipeline())


@pytest.fixture
def artifact(backbone: Backbone) -> TunedWeights:
    """One of every kind of change."""
    base = BaseInfo("tiny", fingerprint(projections(backbone)))
    text = next(n for n, _ in backbone.pipeline.text_encoder.named_parameters() if "final" in n)
    return TunedWeights(
        "dreambooth",
        (ROBOT,),
        base,
        {"sks": torch.randn(32)},
        {NORM: torch.randn(32), f"text_encoder.{text}": torch.randn(32)},
        {LAYER: (torch.randn(2, 64), torch.randn(64, 2))},
        {"seed": "0"},
    )


def everything(backbone: Backbone) -> list[torch.Tensor]:
    modules = backbone.denoiser, backbone.pipeline.text_encoder
    return [value.clone() for module in modules for value in module.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_everything_is_put_in_and_restored(backbone: Backbone, artifact: TunedWeights) -> None:
    before = everything(backbone)
    parameters = dict(backbone.denoiser.named_parameters())
    table = backbone.pipeline.text_encoder.get_input_embeddings().weight
    original = parameters[f"{LAYER}.weight"].clone()
    with artifact.applied(backbone):
        assert torch.equal(parameters["conv_norm_out.weight"], artifact.weights[NORM].float())
        (row,) = backbone.token_ids("sks")
        assert torch.equal(table[row], artifact.embeddings["sks"].float())
        down, up = (factor.float() for factor in artifact.factors[LAYER])
        assert torch.equal(parameters[f"{LAYER}.weight"], original + up @ down)
    assert same(before, everything(backbone))


def test_all_is_restored_after_an_exception(backbone: Backbone, artifact: TunedWeights) -> None:
    before = everything(backbone)
    with pytest.raises(KeyError), artifact.applied(backbone):
        raise KeyError
    assert same(before, everything(backbone))


def test_artifacts_and_shutting_nest(backbone: Backbone, artifact: TunedWeights) -> None:
    layer = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    weight = projections(backbone)[layer]
    dense = TunedWeights(
        "custom_diffusion", (), BaseInfo(), weights={f"unet.{layer}.weight": torch.ones(64, 32)}
    )
    neurons = random_neurons(backbone, ROBOT, 0.3, seed=0)
    before = everything(backbone)
    with artifact.applied(backbone), dense.applied(backbone):
        inside = everything(backbone)
        with shut(backbone, neurons, 1), dense.applied(backbone):
            assert bool((weight == 1).all())
        assert same(inside, everything(backbone))
    assert same(before, everything(backbone))


def test_artifacts_and_shutting_are_left_in_any_order(
    backbone: Backbone, artifact: TunedWeights
) -> None:
    neurons = random_neurons(backbone, ROBOT, 0.3, seed=0)
    before = everything(backbone)
    for order in permutations(range(3)):
        blocks = [artifact.applied(backbone), shut(backbone, neurons), artifact.applied(backbone)]
        for block in blocks:
            block.__enter__()
        for number in order:
            blocks[number].__exit__(None, None, None)
        assert same(before, everything(backbone))


def test_values_are_float16_from_the_start() -> None:
    artifact = TunedWeights("x", (ROBOT,), BaseInfo(), {"sks": torch.tensor([0.1, 1 / 3])})
    assert artifact.embeddings["sks"].dtype == torch.float16
    with pytest.raises(ConesError, match=r"^sks: has values that are NaN or too large for float16"):
        replace(artifact, embeddings={"sks": torch.tensor([1e5])})


def test_a_file_gives_back_everything(
    backbone: Backbone, artifact: TunedWeights, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "sks.safetensors"
    artifact.save(path)
    found = load_artifact(path)
    assert isinstance(found, TunedWeights)
    assert path.stat().st_size == artifact.nbytes() == found.nbytes()
    assert file_hash(path) == artifact.digest() == found.digest()
    assert (found.method, found.subjects, found.base, found.info) == (
        artifact.method, artifact.subjects, artifact.base, artifact.info
    )  # fmt: skip
    with artifact.applied(backbone):
        wanted = everything(backbone)
    with found.applied(backbone):
        assert same(wanted, everything(backbone))


def test_a_neuron_file_is_an_artifact(backbone: Backbone, tmp_path: Path) -> None:
    neurons = replace(random_neurons(backbone, ROBOT, 0.1, seed=0), strength=1.5)
    path = tmp_path / "a.cones.safetensors"
    Cones(neurons).save(path)
    found: Artifact = load_artifact(path)
    assert isinstance(found, Cones) and found.neurons == neurons
    assert (found.method, found.subjects) == ("cones", (ROBOT,))
    assert (found.nbytes(), found.digest()) == (path.stat().st_size, file_hash(path))
    with shut(backbone, neurons, 1.5):
        wanted = everything(backbone)
    with found.applied(backbone):
        assert same(wanted, everything(backbone))
    values = {layer: np.ones(len(i), np.float32) for layer, i in neurons.indices.items()}
    assert Cones(replace(neurons, values=values)).method == "cones_tuned"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weights": {"unet.nowhere": torch.ones(2)}},
            "unet.nowhere: expected the shape (2,) of the artifact's base model (tiny), found none "
            "in UNet2DConditionModel; load that base model, or fit the subject in this one",
        ),
        ({"weights": {NORM: torch.ones(3)}}, f"{NORM}: expected the shape (3,)"),
        ({"embeddings": {"sks": torch.ones(3)}}, "embedding: expected the shape (3,)"),
        (
            {"factors": {LAYER: (torch.ones(2, 64), torch.ones(3, 2))}},
            f"unet.{LAYER}.weight: expected the shape (3, 64)",
        ),
    ],
)
def test_another_layout_is_refused_and_nothing_is_changed(
    backbone: Backbone, artifact: TunedWeights, change: dict[str, object], message: str
) -> None:
    before = everything(backbone)
    other = replace(artifact, **change)  # type: ignore[arg-type]
    with pytest.raises(BaseModelError) as error, other.applied(backbone):
        pass
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
    assert same(before, everything(backbone))


def test_other_weights_are_warned_of(backbone: Backbone, artifact: TunedWeights) -> None:
    other = replace(artifact, base=BaseInfo("mine", "ab" * 16))
    with (
        pytest.warns(BaseModelWarning, match=r"fitted in mine \(abababab\), this model is UNet2D"),
        other.applied(backbone),
    ):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with artifact.applied(backbone):
            pass


def test_a_token_of_several_pieces_is_refused(backbone: Backbone, artifact: TunedWeights) -> None:
    subject = SubjectInfo("unheardof", "robot")
    other = replace(artifact, subjects=(subject,), embeddings={"unheardof": torch.ones(32)})
    with (
        pytest.raises(InputError, match="token 'unheardof': expected one token"),
        other.applied(backbone),
    ):
        pass


def rewritten(path: Path, **changes: str) -> None:
    with safe_open(path, "numpy") as file:
        metadata = {**file.metadata(), **changes}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del metadata["digest"]
    signed = hashlib.sha256(safetensors_bytes(tensors, metadata)).hexdigest()[:32]
    path.write_bytes(safetensors_bytes(tensors, {**metadata, "digest": signed}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format_version": "2"},
            "of version 1, found 2; upgrade cones",
        ),
        ({"subjects": "no json"}, "subjects: cannot be read as JSON .*; the file"),
        ({"subjects": json.dumps([{"name": 1}])}, "subjects: expected class_noun, prompt and"),
        ({"info": "1"}, "expected a list of subjects and an object of info"),
        ({"info": "[[]]"}, "expected a list of subjects and an object of info"),
        ({"info": "[" * 3000}, "info: .*at most 32 levels, found 3000"),
        ({"info": '{"seed":0}'}, "info seed: expected a text, found 0"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused(
    artifact: TunedWeights, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    path = tmp_path / "a.safetensors"
    artifact.save(path)
    rewritten(path, **changes)
    with pytest.raises(NeuronFileError, match=message) as error:
        load_artifact(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path))


def test_factors_that_do_not_match_are_refused(artifact: TunedWeights) -> None:
    for down, up in (((2, 6), (6, 3)), ((2,), (6, 2)), ((), ())):
        with pytest.raises(InputError, match=r"a: expected factors \[r, in\] and"):
            replace(artifact, factors={"a": (torch.ones(down), torch.ones(up))})
    with pytest.raises(InputError, match="zwx: has an embedding, but is no subject's token"):
        replace(artifact, embeddings={"zwx": torch.ones(3)})


def test_a_flipped_bit_is_found(artifact: TunedWeights, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    artifact.save(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(NeuronFileError, match="the file is damaged"):
        load_artifact(path)


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(safetensors_bytes({"a": np.ones(2, np.float32)}, {}))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    for path, message in (
        (other, "is a safetensors file of another kind, not a neuron file"),
        (broken, "expected a safetensors file, found 7 bytes of something else"),
        (tmp_path / "none", "there is no such file"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(NeuronFileError, match=message):
            load_artifact(path)
    save_file({"a": torch.ones(2)}, other)  # without metadata
    with pytest.raises(NeuronFileError, match="of another kind, not a file of `cones fit`"):
        TunedWeights.load(other)


def test_pictures_are_drawn_with_an_artifact(backbone: Backbone, artifact: TunedWeights) -> None:
    neurons = random_neurons(backbone, SubjectInfo("zas", "mug"), 0.3, seed=0)
    settings = {"steps": 2, "seeds": [1]}

    def drawn(**more: object) -> tuple[bytes, dict[str, str]]:
        (picture,) = generate(backbone, "a sks robot", **settings, **more)  # type: ignore[arg-type]
        return picture.image.tobytes(), dict(picture.provenance)

    before = everything(backbone)
    plain, alone = drawn()[0], drawn(artifact=artifact)
    with artifact.applied(backbone):
        assert alone[0] == drawn()[0] != plain
        both = drawn(neurons=neurons)[0]
    found = drawn(artifact=artifact, neurons=neurons)
    assert found[0] == both
    named = f"dreambooth:{artifact.digest()}"
    assert (alone[1]["neurons"], alone[1]["strength"]) == (named, "")
    assert found[1]["neurons"].startswith(f"{named} ") and found[1]["strength"] == "1.0"
    assert found[1]["fingerprint"] == fingerprint(projections(backbone))
    assert same(before, everything(backbone))


def test_prompts_are_checked_for_an_artifact(
    backbone: Backbone, artifact: TunedWeights, caplog: pytest.LogCaptureFixture
) -> None:
    generate(backbone, "a robot", steps=1, artifact=artifact)
    assert "names no subject of the neurons; say 'sks robot'" in caplog.text


def test_one_token_of_an_artifact_and_of_neurons_is_refused(
    backbone: Backbone, artifact: TunedWeights
) -> None:
    neurons = random_neurons(backbone, SubjectInfo("sks", "mug"), 0.3, seed=0)
    with pytest.raises(InputError, match="token 'sks': stands for two subjects"):
        generate(backbone, "a sks robot", artifact=artifact, neurons=neurons)
    with pytest.raises(InputError, match="token 'sks': stands for two subjects"):
        replace(artifact, subjects=(ROBOT, SubjectInfo("sks", "mug")))
