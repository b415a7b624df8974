"""`cones demo`: the whole way in the embedded world, with a sample subject."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cones.cli import options
from cones.cli.console import LOADING, print_json, progress, tell, waiting
from cones.cli.opening import TOYBOX
from cones.progress import OnProgress

if TYPE_CHECKING:
    from PIL.Image import Image

    from cones.models.backbone import Backbone
    from cones.neurons.concept_neurons import ConceptNeurons
    from cones.search.config import FindConfig
    from cones.subjects.subject import Subject

CLASS, TOKEN, SUBJECT_SEED, PHOTOS = "robot", "sks", 7, 5
SCENES = ("beach", "forest", "snow", "city", "desert", "night")


def demo(
    out: Annotated[
        Path, options.out_folder("folder for the photographs, the neurons and the pictures")
    ] = Path("demo"),
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Find a sample subject of the toybox and draw it in six scenes."""
    with waiting(LOADING):
        from cones.neurons.neuronfile import nbytes
        from cones.search.config import FindConfig

    backbone = TOYBOX.backbone()
    started = time.monotonic()
    with progress() as on_progress:
        made = demonstrate(out, backbone, FindConfig(), on_progress, overwrite)
    report = json.loads(made.neurons.info["report"])
    before, after = (report[when]["subject"] for when in ("before", "after"))
    figures = {
        "neurons": len(made.neurons),
        "density": made.neurons.density,
        "strength": made.neurons.strength,
        "bytes": nbytes(made.neurons),
        "loss_before": before,
        "loss_after": after,
        "seconds": round(time.monotonic() - started, 1),
    }
    if as_json:
        paths = {"photos": str(made.photos), "file": str(made.file), "sheet": str(made.sheet)}
        print_json({**paths, **figures})
        return
    tell(
        f"{figures['neurons']:,} neurons shut, {made.neurons.density:.2%} of the weights in "
        f"question; {figures['bytes']:,} bytes",
        f"loss on the subject, held-out noise: {before:.5f} before, {after:.5f} after",
        f"photographs: {made.photos}",
        f"neuron file: {made.file}",
        f"look at: {made.sheet}",
        f'next: cones generate --neurons "{made.file}" --prompt "a photo of a {{}} and a dog"',
    )


@dataclass(frozen=True)
class Demo:
    """What a demonstration has made.

    Attributes:
        neurons: the sample subject's.
        photos: folder of its photographs.
        file: the neuron file.
        sheet: the contact sheet.
    """

    neurons: "ConceptNeurons"
    photos: Path
    file: Path
    sheet: Path


def demonstrate(
    out: Path,
    backbone: "Backbone",
    config: "FindConfig",
    on_progress: OnProgress | None = None,
    overwrite: bool = False,
) -> Demo:
    """Find a sample subject and draw it in six scenes, beside the base model.

    Everything follows from fixed seeds. What an earlier run has left in `out` is replaced.

    Args:
        out: folder for the photographs, the neuron file and the contact sheet.
        backbone: the toybox, or a model in its place.
        config: of the search.
        on_progress: called with (stage, done, total, figures).
        overwrite: whether other files than an earlier run's may be replaced.

    Raises:
        InputError: `out` cannot be written or holds other files.
    """
    from cones.files.writing import atomic_write, writable_folder
    from cones.methods.outputs import check_picture, check_result
    from cones.neurons.neuronfile import to_bytes
    from cones.sampling.pictures import KIND, contact_sheet, png_bytes
    from cones.search.find import find
    from cones.search.identity import KEY, identity, model_identity
    from cones.subjects.subject import Subject
    from cones.toybox.render import look_from_seed, render_subject, save_subject

    writable_folder(out)
    photos, file = out / "photos", out / f"{CLASS}{options.SUFFIX}"
    sheet = out / "contact_sheet.png"
    save_subject(render_subject(CLASS, look_from_seed(SUBJECT_SEED), PHOTOS, SUBJECT_SEED), photos)
    subject = Subject.from_folder(photos, CLASS, TOKEN)
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
    backbone: "Backbone",
    subject: "Subject",
    neurons: "ConceptNeurons | None",
    on_progress: OnProgress | None,
) -> "list[Image]":
    """The subject in each scene, with the same seed."""
    from cones.sampling.generate import generate
    from cones.toybox.captions import plain_caption

    prompts = [plain_caption(subject.phrase, scene) for scene in SCENES]
    images: list[Image] = []
    for picture in generate(backbone, prompts, neurons=neurons):
        images.append(picture.image)
        if on_progress is not None:
            stage = "draw the base model" if neurons is None else "draw with neurons shut"
            on_progress(stage, len(images), len(prompts), {})
    return images
