"""The whole way in the embedded world: photographs, neurons, pictures, one sheet to look at."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from cones.files.writing import atomic_write, writable_folder
from cones.methods.outputs import check_picture, check_result
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import to_bytes
from cones.progress import OnProgress
from cones.sampling.generate import generate
from cones.sampling.pictures import KIND, contact_sheet, png_bytes
from cones.search.find import FindConfig, find
from cones.search.identity import KEY, identity, model_identity
from cones.subjects.subject import Subject
from cones.toybox.captions import plain_caption
from cones.toybox.render import look_from_seed, render_subject, save_subject

CLASS, TOKEN, SUBJECT_SEED, PHOTOS = "robot", "sks", 7, 5
SCENES = ("beach", "forest", "snow", "city", "desert", "night")


@dataclass(frozen=True)
class Demo:
    """What a demonstration has made.

    Attributes:
        neurons: the sample subject's.
        photos: folder of its photographs.
        file: the neuron file.
        sheet: the contact sheet.
    """

    neurons: ConceptNeurons
    photos: Path
    file: Path
    sheet: Path


def run(
    out: Path,
    backbone: Backbone | None = None,
    config: FindConfig | None = None,
    on_progress: OnProgress | None = None,
    overwrite: bool = False,
) -> Demo:
    """Finds a sample subject and draws it in six scenes, beside the base model.

    Everything follows from fixed seeds. What an earlier run has left in `out` is replaced.

    Args:
        out: folder for the photographs, the neuron file and the contact sheet.
        backbone: None for the toybox.
        config: of the search; None for the usual one.
        on_progress: called with (stage, done, total, figures).
        overwrite: whether other files than an earlier run's may be replaced.

    Raises:
        InputError: `out` cannot be written or holds other files, or the toybox's weights are
            missing.
    """
    writable_folder(out)
    photos, file = out / "photos", out / f"{CLASS}.cones.safetensors"
    sheet = out / "contact_sheet.png"
    save_subject(render_subject(CLASS, look_from_seed(SUBJECT_SEED), PHOTOS, SUBJECT_SEED), photos)
    subject = Subject.from_folder(photos, CLASS, TOKEN)
    backbone = backbone or load_backbone()
    config = config or FindConfig()
    own = identity("demo", model_identity(backbone), [subject], config)
    check_result(file, own, overwrite=overwrite)
    check_picture(sheet, "demo", overwrite=overwrite)
    neurons = find(backbone, subject, config, on_progress=on_progress)
    neurons = replace(neurons, info={**neurons.info, KEY: json.dumps(own)})
    atomic_write(file, to_bytes(neurons))
    rows = [
        subject.images,
        _scenes(backbone, subject, None, on_progress),
        _scenes(backbone, subject, neurons, on_progress),
    ]
    labels = ["the photographs", "the base model", "neurons shut"]
    atomic_write(sheet, png_bytes(contact_sheet(rows, labels, SCENES), {KIND: "demo"}))
    return Demo(neurons, photos, file, sheet)


def _scenes(
    backbone: Backbone,
    subject: Subject,
    neurons: ConceptNeurons | None,
    on_progress: OnProgress | None,
) -> list[Image.Image]:
    """The subject in each scene, with the same seed."""
    prompts = [plain_caption(subject.phrase, scene) for scene in SCENES]
    images: list[Image.Image] = []
    for picture in generate(backbone, prompts, neurons=neurons):
        images.append(picture.image)
        if on_progress is not None:
            stage = "draw the base model" if neurons is None else "draw with neurons shut"
            on_progress(stage, len(images), len(prompts), {})
    return images
