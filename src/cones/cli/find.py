"""`cones find`: photographs in, a neuron file out."""

import json
from collections.abc import Mapping
from dataclasses import replace
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
    read_class_images,
    read_subjects,
    require_one_of_each,
    say_what_is_small,
    sources,
)
from cones.cli.reporting import LoggingDir, ReportTo
from cones.cli.search_run import SearchRun, checkpoint_of
from cones.cli.search_tree import list_tree, search_tree

if TYPE_CHECKING:
    from cones.neurons.concept_neurons import ConceptNeurons


@opens_model
def find(
    context: typer.Context,
    images: Annotated[list[Path], options.images()] = [],  # noqa: B006  (typer copies it)
    class_noun: options.ClassNouns = [],  # noqa: B006
    subjects_from: Annotated[
        Path | None,
        options.existing(
            "--subjects_from",
            "tree of folders of photographs: search for each subject alone, and skip those done",
        ),
    ] = None,
    token: options.Tokens = ["sks"],  # noqa: B006
    out: Annotated[Path | None, options.out_file(f"TOKEN-NOUN{options.SUFFIX}")] = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    start: Annotated[
        list[Path], options.existing("--start", "neuron file to begin with; several are united")
    ] = [],  # noqa: B006
    density: Annotated[
        str | None,
        typer.Option(
            "--density",
            parser=values.density,
            metavar="NUMBER",
            help="share of the weights to shut, such as 2.5%; auto for as few as do nearly all",
            show_default="0.025",
        ),
    ] = None,
    steps: Annotated[int | None, options.steps("100")] = None,
    batch: Annotated[int | None, options.batch("8")] = None,
    rate: Annotated[float | None, options.rate("0.03")] = None,
    rho: Annotated[
        float | None,
        options.number("--rho", help="step size of --algorithm paper", default="2e-05"),
    ] = None,
    algorithm: Annotated[
        Literal["mask-in-loop", "reconstruct", "one-pass", "paper"] | None,
        typer.Option("--algorithm", help="how to search", show_default="mask-in-loop"),
    ] = None,
    layers: Annotated[
        Literal["text", "all"] | None,
        typer.Option(
            "--layers",
            help="search the keys and values of the text alone, or of all attention layers",
            show_default="all",
        ),
    ] = None,
    prior_batch: Annotated[int | None, options.prior_batch("8")] = None,
    prior_weight: Annotated[float | None, options.prior_weight("3.0")] = None,
    prior_images: Annotated[int | None, options.prior_images("16")] = None,
    distill: Annotated[bool | None, options.distill("distill; not for one-pass and paper")] = None,
    strength_in_loop: Annotated[
        float | None,
        options.number(
            "--strength_in_loop",
            help="how far the search shuts neurons: 1 sets them to zero, 2 flips their sign",
            default="1.0",
        ),
    ] = None,
    seed: Annotated[int | None, options.seed("0")] = None,
    class_data_dir: options.ClassDataDir = [],  # noqa: B006
    checkpointing_steps: Annotated[
        int | None,
        options.count(
            "--checkpointing_steps",
            help="steps after which the search is kept beside the neuron file, again and again",
            default="never",
        ),
    ] = None,
    resume_from_checkpoint: Annotated[
        str | None,
        typer.Option(
            "--resume_from_checkpoint",
            parser=values.place,
            metavar="PATH",
            help="checkpoint to go on from; latest for the neuron file's own, if there is one",
            show_default="begin anew",
        ),
    ] = None,
    report_to: ReportTo = "none",
    logging_dir: LoggingDir = Path("logs"),
    validation_prompt: Annotated[
        str | None,
        typer.Option(
            "--validation_prompt",
            parser=values.words,
            metavar="TEXT",
            help="what to draw in the end for --report_to; {} stands for the subjects",
            show_default="a photo of a {}",
        ),
    ] = None,
    mixed_precision: options.MixedPrecision = "no",
    gradient_checkpointing: options.GradientCheckpointing = False,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Find the concept neurons of subjects in their photographs.

    Several subjects, each with its --images, --class_noun and --token, are searched for together.
    With --subjects_from each is searched for alone: its class is what metadata.jsonl or the name of
    its folder says (wooden-chair-2 is a wooden chair), its token one of --token in turn, or else a
    rare word of the model.
    """
    if subjects_from:
        _refuse_beside_tree(context.params)
    else:
        _require_subjects(context.params)
    refuse_without_effect(context, _idle(context.params))
    start = [values.given(each) for each in start]
    with waiting(LOADING):
        from cones.distributed import ALONE, joined
        from cones.files.writing import writable_folder
        from cones.neurons.neuronfile import load
        from cones.search.config import FindConfig
        from cones.search.interference import combine
        from cones.search.sweep import tasks

        processes, device = joined(opening.device)
    together = ALONE if subjects_from else processes  # who share the samples of each step
    config = options.given_config(FindConfig, context.params)
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
        todo, folder = tasks(subjects_from, given), out or Path()
        if dry_run:
            return list_tree(opened(), todo, folder, as_json)
        return search_tree(opened(), todo, writable_folder(folder), keep, as_json, processes)
    subjects, photos = read_subjects(sources(images), class_noun, token)
    class_images = read_class_images(subjects, class_data_dir)
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
    idle = idle_settings(given["algorithm"])
    if given["report_to"] == "none":
        idle |= dict.fromkeys(("validation_prompt", "logging_dir"), "with --report_to")
    if not given["subjects_from"]:
        idle["dry_run"] = "with --subjects_from"
    return idle


def idle_settings(algorithm: str | None) -> dict[str, str]:
    """The settings without effect on an algorithm, None for the default: name -> when they have."""
    idle = {}
    if algorithm != "paper":
        idle["rho"] = "with --algorithm paper"
    if algorithm in ("one-pass", "paper"):
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
