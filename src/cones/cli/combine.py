"""`cones combine`: neuron files of several subjects in, one for all of them out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cones.cli import options
from cones.cli.console import (
    LOADING,
    log,
    print_json,
    print_table,
    progress,
    tell,
    waiting,
)
from cones.cli.opening import MODEL_OPTIONS, TOYBOX, Opening, opens_model
from cones.cli.parsing import refuse_without_effect
from cones.cli.photographs import say_what_is_small, subjects_of

if TYPE_CHECKING:
    from cones.neurons.concept_neurons import ConceptNeurons
    from cones.neurons.overlap import PairOverlap
    from cones.search.interference import Interference, Kept


@opens_model
def combine(
    context: typer.Context,
    files: Annotated[list[Path], options.neuron_files("neuron files, two or more")],
    out: Annotated[Path | None, options.out_file(f"TOKEN-NOUN-TOKEN-NOUN{options.SUFFIX}")] = None,
    overwrite: options.Overwrite = False,
    images: Annotated[
        list[Path],
        options.images(
            "photographs of a subject, to measure what each keeps: a folder, or files; once for "
            "each, in the order of the neuron files"
        ),
    ] = [],  # noqa: B006  (typer copies it)
    seed: Annotated[int, options.seed()] = 0,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Unite the neurons of several subjects, with a report.

    It says how many neurons they share, and with --images how well each subject is still drawn.
    """
    if len(files) < 2:
        raise typer.BadParameter("give two neuron files or more")
    if not images:
        refuse_without_effect(context, dict.fromkeys(("seed", *MODEL_OPTIONS), "with --images"))
    with waiting(LOADING):
        from cones.files.locks import claimed
        from cones.files.writing import write_result
        from cones.methods.outputs import check_result
        from cones.neurons.neuronfile import file_hash, to_bytes
        from cones.neurons.union import distinct_sets
        from cones.search.identity import KEY, union_identity
        from cones.search.interference import combine as unite
        from cones.search.interference import interference

    sets = distinct_sets(files)
    union = unite(sets)
    subjects, photos = subjects_of(sets, images) if images else ([], [])
    own = union_identity("combine", union, [file_hash(path) for path in files])
    union = replace(union, info={**union.info, KEY: json.dumps(own)})
    path = options.output_path(out, [subject.phrase for subject in union.subjects])
    with claimed(path):
        check_result(path, own, files, overwrite)
        write_result(path, to_bytes(union))
    backbone = None
    if subjects:
        backbone = opening.backbone()
        say_what_is_small(photos, backbone)
    with progress() as on_progress:
        report = interference(backbone, sets, subjects, seed, on_progress)
    _print(union, path, report, as_json)
    for remark in report.remarks():
        log.warning(remark)


def _print(union: "ConceptNeurons", path: Path, report: "Interference", as_json: bool) -> None:
    from cones.neurons.summary import summary

    about = summary(union)
    if as_json:
        print_json({"file": str(path), **about, **report.as_dict()})
        return
    print_table(["pair", "shared", "by chance", "ratio", "z"], [_overlap(p) for p in report.pairs])
    if report.kept:
        columns = ["held-out loss", "nothing shut", "own neurons", "all neurons", "kept"]
        print_table(columns, [_kept(each) for each in report.kept])
    else:
        named = ", ".join(f"{s['token']} {s['class_noun']}" for s in about["subjects"])
        tell(f"to see what each keeps, give the photographs: --images for each of {named}")
    tell(
        f"{about['neurons']:,} neurons, {about['density']:.2%} of {about['weights']:,} weights, "
        f"strength {about['strength']:g}",
        f"{path}: {about['bytes']:,} bytes",
    )


def _overlap(pair: "PairOverlap") -> list[str]:
    ratio, z = ("-" if each is None else f"{each:.2f}" for each in (pair.ratio, pair.z))
    return [f"{pair.first}, {pair.second}", f"{pair.shared:,}", f"{pair.expected:,.0f}", ratio, z]


def _kept(each: "Kept") -> list[str]:
    losses = [f"{loss:.5f}" for loss in (each.base, each.alone, each.union)]
    return [each.phrase, *losses, "-" if each.share is None else f"{each.share:.0%}"]
