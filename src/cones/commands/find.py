"""`cones find`: photographs in, a neuron file out."""

import json
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cones.commands.common import (
    LOADING,
    SUFFIX,
    AllowDownload,
    AsJson,
    Device,
    Model,
    Precision,
    Revision,
    open_backbone,
    output_path,
    print_json,
    print_layers,
    print_table,
    progress,
    read_photos,
    say,
    waiting,
)
from cones.commands.reporting import LoggingDir, ReportTo, reporting
from cones.commands.subjects import read_subjects, require_one_of_each, say_what_is_small

if TYPE_CHECKING:
    from cones.backbone import Backbone
    from cones.checkpoint import Checkpoint
    from cones.find import FindConfig
    from cones.neurons import ConceptNeurons
    from cones.pictures import Picture

CHECKPOINT = ".checkpoint.safetensors"


def find(
    context: typer.Context,
    images: Annotated[
        list[Path],
        typer.Option(
            "--images",
            "--instance_data_dir",
            help="folder of the subject's photographs; once more, with a noun and a token, for "
            "each further subject to be searched with it",
        ),
    ],
    class_noun: Annotated[
        list[str], typer.Option("--class_noun", help="what kind of thing the subject is: robot")
    ],
    token: Annotated[
        list[str], typer.Option("--token", help="rare word that prompts call the subject by")
    ] = ["sks"],  # noqa: B006  (typer copies it)
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "--output",
            "--output_dir",
            help="neuron file or folder",
            show_default=f"TOKEN{SUFFIX}",
        ),
    ] = None,
    start: Annotated[
        list[Path], typer.Option("--start", help="neuron file to begin with; several are united")
    ] = [],  # noqa: B006
    model: Model = "toybox",
    density: Annotated[
        float | None, typer.Option(help="share of the weights to shut", show_default="0.05")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="of the search", show_default="100")] = None,
    batch: Annotated[
        int | None, typer.Option(help="the subject's samples in a step", show_default="8")
    ] = None,
    algorithm: Annotated[
        Literal["mask-in-loop", "one-pass", "paper"] | None,
        typer.Option(help="how to search", show_default="mask-in-loop"),
    ] = None,
    layers: Annotated[
        Literal["text", "all"] | None,
        typer.Option(help="key and value projections to search", show_default="text"),
    ] = None,
    strength_in_loop: Annotated[
        float | None,
        typer.Option("--strength_in_loop", help="1 shuts, 2 flips the sign", show_default="1.0"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="of everything", show_default="0")] = None,
    class_data_dir: Annotated[
        list[Path],
        typer.Option(
            "--class_data_dir", help="images of the class", show_default="the model draws them"
        ),
    ] = [],  # noqa: B006
    checkpointing_steps: Annotated[
        int | None,
        typer.Option(
            "--checkpointing_steps",
            help="keep the search every so many steps beside the neuron file",
            show_default="never",
        ),
    ] = None,
    resume_from_checkpoint: Annotated[
        str | None,
        typer.Option(
            "--resume_from_checkpoint",
            help="go on from a checkpoint: a file, or 'latest' for this neuron file's own, if any",
            show_default="begin anew",
        ),
    ] = None,
    report_to: ReportTo = "none",
    logging_dir: LoggingDir = Path("logs"),
    validation_prompt: Annotated[
        str | None,
        typer.Option(
            "--validation_prompt",
            help="drawn with the neurons shut, for --report_to; {} stands for the subjects' words",
            show_default="a photo of a {}",
        ),
    ] = None,
    mixed_precision: Annotated[
        Precision, typer.Option("--mixed_precision", help="autocast of the search")
    ] = "no",
    device: Device = None,
    revision: Revision = None,
    allow_download: AllowDownload = False,
    as_json: AsJson = False,
) -> None:
    """Find the concept neurons of a subject in its photographs, or of several subjects together."""
    given = {"--images": len(images), "--class_noun": len(class_noun), "--token": len(token)}
    if class_data_dir:
        given["--class_data_dir"] = len(class_data_dir)
    require_one_of_each(given)
    with waiting(LOADING):
        from cones.combine import combine
        from cones.files import writable_folder
        from cones.find import FindConfig
        from cones.find import find as find_neurons
        from cones.neuronfile import load

    config = _config(FindConfig, context.params)
    subjects, photos = read_subjects(images, class_noun, token)
    class_images = {
        noun: read_photos(folder).images
        for noun, folder in zip(class_noun, class_data_dir, strict=False)
    }
    begin = combine([load(each) for each in start]) if start else None
    path = output_path(out, token)
    writable_folder(path.parent)
    checkpoint = _checkpoint(path, checkpointing_steps, resume_from_checkpoint)
    backbone = open_backbone(model, revision, device, allow_download, mixed_precision)
    say_what_is_small(photos, backbone)
    started = time.monotonic()
    with reporting(report_to, logging_dir, path.name, asdict(config)) as report:
        with progress() as on_step:
            both = report.beside(on_step)
            neurons = find_neurons(
                backbone, subjects, config, class_images, both, begin, checkpoint
            )
        neurons.save(path)
        if checkpoint:
            checkpoint.remove()
        seconds = time.monotonic() - started
        report.neurons(neurons)
        if report_to != "none":
            report.pictures(_validated(backbone, neurons, validation_prompt or "a photo of a {}"))
    _print(neurons, path, seconds, as_json)


def _validated(backbone: "Backbone", neurons: "ConceptNeurons", prompt: str) -> "list[Picture]":
    """Some pictures of a prompt with the neurons shut."""
    from cones.generate import generate
    from cones.neurons import together

    words = together(each.phrase for each in neurons.subjects)
    return generate(backbone, prompt.replace("{}", words), range(4), neurons=neurons)


def _checkpoint(path: Path, every: int | None, resume: str | None) -> "Checkpoint | None":
    """Where the search of a neuron file is kept, if it is."""
    from cones.checkpoint import STEPS, Checkpoint

    if every is None and resume is None:
        return None
    own = path.with_name(path.name.removesuffix(SUFFIX) + CHECKPOINT)
    file = own if resume in (None, "latest") else Path(str(resume))
    if resume not in (None, "latest") and not file.is_file():
        raise typer.BadParameter(f"--resume_from_checkpoint: there is no file {file}")
    if resume == "latest" and not file.exists():
        say(f"{file}: there is no checkpoint yet; the search begins anew")
    return Checkpoint(file, STEPS if every is None else every, resume=resume is not None)


def _config(kind: "type[FindConfig]", given: dict[str, Any]) -> "FindConfig":
    """The configuration, from those options that were given: they have its fields' names."""
    names = {field.name for field in fields(kind)}
    return kind(**{k: v for k, v in given.items() if k in names and v is not None})


def _print(neurons: "ConceptNeurons", path: Path, seconds: float, as_json: bool) -> None:
    from cones.summary import summary

    about, report = summary(neurons), json.loads(neurons.info["report"])
    if as_json:
        print_json({"file": str(path), **about, "report": report, "seconds": round(seconds, 1)})
        return
    subjects = "the subject" if len(neurons.subjects) == 1 else "the subjects"
    rows = [
        [f"loss on {what}", *(f"{report[when][key]:.5f}" for when in ("before", "after"))]
        for what, key in ((subjects, "subject"), ("the rest", "prior"))
    ]
    print_table(["held-out noise", "before", "after"], rows)
    print_layers(about)
    typer.echo(
        f"{about['neurons']:,} neurons, {about['density']:.2%} of {about['weights']:,} weights, "
        f"strength {about['strength']:g}, found in {seconds:.0f} s\n"
        f"{path}: {about['bytes']:,} bytes\n"
        f'next: cones generate --neurons "{path}" --prompt "a photo of a {{}} in the snow"'
    )
