"""`cones find`: photographs in, a neuron file out."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cones.cli import options, values
from cones.cli.console import (
    LOADING,
    log,
    print_json,
    print_layers,
    print_table,
    tell,
    waiting,
)
from cones.cli.opening import TOYBOX, Opening, opens_model
from cones.cli.parsing import refuse_without_effect
from cones.cli.photographs import (
    read_photos,
    read_subjects,
    refuse_shared,
    require_one_of_each,
    say_what_is_small,
    sources,
)
from cones.cli.reporting import LoggingDir, ReportTo
from cones.cli.search_run import SearchRun, checkpoint_of
from cones.cli.search_tree import search_tree

if TYPE_CHECKING:
    from cones.neurons.concept_neurons import ConceptNeurons
    from cones.search.config import FindConfig


@opens_model
def find(
    context: typer.Context,
    images: Annotated[
        list[Path],
        options.images("folder of the subject's photographs, or these; once for each subject"),
    ] = [],  # noqa: B006  (typer copies it)
    class_noun: options.ClassNouns = [],  # noqa: B006
    subjects_from: Annotated[
        Path | None,
        options.existing(
            "--subjects_from",
            "tree of subjects' folders, a search and a file in --out for each; those done are "
            "skipped. A class is what metadata.jsonl tells, or wooden-chair-2 a wooden chair; "
            "several --token are dealt out in turn, without any each has a rare one of the model",
        ),
    ] = None,
    token: options.Tokens = ["sks"],  # noqa: B006
    out: Annotated[Path | None, options.out_file(f"TOKEN-NOUN{options.SUFFIX}")] = None,
    overwrite: options.Overwrite = False,
    start: Annotated[
        list[Path],
        options.neurons("--start", "neuron file to begin with; several are united"),
    ] = [],  # noqa: B006
    density: Annotated[
        str | None,
        typer.Option(
            parser=values.density,
            metavar="NUMBER",
            help="share of the weights to shut, 0.025 or 2.5%; auto: the fewest that do nearly all",
            show_default="0.025",
        ),
    ] = None,
    steps: Annotated[int | None, options.steps("100")] = None,
    batch: Annotated[int | None, options.batch("8")] = None,
    rate: Annotated[float | None, options.rate("0.03")] = None,
    rho: Annotated[
        float | None,
        typer.Option(
            "--rho",
            parser=values.number,
            help="step size of --algorithm paper",
            show_default="2e-05",
        ),
    ] = None,
    algorithm: Annotated[
        Literal["mask-in-loop", "reconstruct", "one-pass", "paper"] | None,
        typer.Option(help="how to search", show_default="mask-in-loop"),
    ] = None,
    layers: Annotated[
        Literal["text", "all"] | None,
        typer.Option(
            help="key and value projections to search: of all attention layers, or the text's",
            show_default="all",
        ),
    ] = None,
    prior_weight: Annotated[float | None, options.prior_weight("3.0")] = None,
    prior_images: Annotated[int | None, options.prior_images("16")] = None,
    strength_in_loop: Annotated[
        float | None,
        typer.Option(
            "--strength_in_loop",
            parser=values.number,
            help="1 shuts, 2 flips the sign",
            show_default="1.0",
        ),
    ] = None,
    seed: Annotated[int | None, options.seed("0")] = None,
    class_data_dir: Annotated[
        list[Path],
        options.existing("--class_data_dir", "images of the class", "the model draws them"),
    ] = [],  # noqa: B006
    checkpointing_steps: Annotated[
        int | None,
        typer.Option(
            "--checkpointing_steps",
            parser=values.whole(1),
            help="keep the search every so many steps beside the neuron file",
            show_default="never",
        ),
    ] = None,
    resume_from_checkpoint: Annotated[
        str | None,
        typer.Option(
            "--resume_from_checkpoint",
            parser=values.place,
            metavar="PATH",
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
    mixed_precision: options.MixedPrecision = "no",
    gradient_checkpointing: options.GradientCheckpointing = False,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Find the concept neurons of a subject in its photographs, or of several subjects together."""
    if subjects_from:
        _refuse_beside_tree(context.params)
    else:
        _require_subjects(context.params)
    refuse_without_effect(context, _idle(context.params))
    with waiting(LOADING):
        from cones.distributed import ALONE, joined
        from cones.files.writing import writable_folder
        from cones.neurons.neuronfile import load
        from cones.search.config import FindConfig
        from cones.search.interference import combine
        from cones.search.sweep import tasks

        processes, device = joined(opening.device)
    together = ALONE if subjects_from else processes  # who share the samples of each step
    config = _config(FindConfig, context.params)
    keep = partial(
        checkpoint_of,
        every=checkpointing_steps,
        resume=resume_from_checkpoint,
        written=together.is_main,
        overwrite=overwrite,
    )

    def opened() -> SearchRun:
        backbone = replace(opening, device=device).backbone(mixed_precision, gradient_checkpointing)
        return SearchRun(
            backbone, config, report_to, logging_dir, validation_prompt, together, overwrite
        )

    if subjects_from:
        source = context.get_parameter_source("token")
        given = () if source is None or source.name == "DEFAULT" else token
        todo, folder = tasks(subjects_from, given), writable_folder(out or Path())
        return search_tree(opened(), todo, folder, keep, as_json, processes)
    subjects, photos = read_subjects(sources(images), class_noun, token)
    class_images = {
        noun: read_photos(folder, "class").images
        for noun, folder in zip(class_noun, class_data_dir, strict=False)
    }
    refuse_shared(subjects, class_images)
    begin = combine([load(each) for each in start]) if start else None
    path = options.output_path(out, [subject.phrase for subject in subjects])
    writable_folder(path.parent)
    checkpoint = keep(path)
    if resume_from_checkpoint and checkpoint and not checkpoint.path.exists():
        log.info("%s: there is no checkpoint yet; the search begins anew", checkpoint.path)
    search = opened()
    say_what_is_small(photos, search.backbone)
    neurons, seconds = search.run(subjects, path, class_images, checkpoint, begin)
    _print(neurons, path, seconds, as_json)
    processes.leave()


def _require_subjects(given: Mapping[str, Any]) -> None:
    """Refuses options of subjects that are missing or cannot be matched."""
    found = {"--images": len(sources(given["images"]))}
    found |= {f"--{name}": len(given[name]) for name in ("class_noun", "token")}
    if not (given["images"] and given["class_noun"]):
        raise typer.BadParameter("give --images and --class_noun, or --subjects_from")
    if given["class_data_dir"]:
        found["--class_data_dir"] = len(given["class_data_dir"])
    require_one_of_each(found)


def _idle(given: Mapping[str, Any]) -> dict[str, str]:
    """The options that have no effect beside the others: name -> when they have."""
    idle: dict[str, str] = {}
    if given["report_to"] == "none":
        idle |= dict.fromkeys(("validation_prompt", "logging_dir"), "with --report_to")
    if given["algorithm"] != "paper":
        idle["rho"] = "with --algorithm paper"
    if given["algorithm"] in ("one-pass", "paper"):
        idle["rate"] = "with --algorithm mask-in-loop or reconstruct"
    return idle


def _refuse_beside_tree(given: Mapping[str, Any]) -> None:
    """Refuses options that are of one subject, where a whole tree is given."""
    names = ("images", "class_noun", "class_data_dir", "start")
    if wrong := [f"--{name}" for name in names if given[name]]:
        raise typer.BadParameter(
            f"--subjects_from searches for each subject alone; leave out {', '.join(wrong)}"
        )
    if given["resume_from_checkpoint"] not in (None, "latest"):
        raise typer.BadParameter(
            "--resume_from_checkpoint: with --subjects_from only 'latest', each file's own"
        )
    if given["out"] is not None and given["out"].suffix == ".safetensors":
        raise typer.BadParameter("--out: with --subjects_from, name a folder")


def _config(kind: "type[FindConfig]", given: dict[str, Any]) -> "FindConfig":
    """The configuration, from those options that were given: they have its fields' names."""
    names = {field.name for field in fields(kind)}
    return kind(**{k: v for k, v in given.items() if k in names and v is not None})


def _print(neurons: "ConceptNeurons", path: Path, seconds: float, as_json: bool) -> None:
    from cones.neurons.summary import summary

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
    tell(
        f"{about['neurons']:,} neurons, {about['density']:.2%} of {about['weights']:,} weights, "
        f"strength {about['strength']:g}, found in {seconds:.0f} s",
        f"{path}: {about['bytes']:,} bytes",
        f'next: cones generate --neurons "{path}" --prompt "a photo of a {{}} in the snow"',
    )
