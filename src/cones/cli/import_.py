"""`cones import`: an adapter of another program in, neurons out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cones.cli import options, values
from cones.cli.console import LOADING, print_json, tell, waiting
from cones.cli.opening import TOYBOX, Opening, opens_model
from cones.cli.photographs import require_one_of_each


@opens_model
def import_(
    adapter: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="SHiRA folder, or a file of .diff tensors", parser=values.given
        ),
    ],
    class_noun: options.ClassNouns,
    token: options.Tokens,
    out: Annotated[Path | None, options.out_file(f"TOKEN-NOUN{options.SUFFIX}")] = None,
    overwrite: options.Overwrite = False,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Read neurons from an adapter that only sets weights to zero."""
    require_one_of_each({"--class_noun": len(class_noun), "--token": len(token)})
    with waiting(LOADING):
        from cones.export import read_neurons
        from cones.files.locks import claimed
        from cones.files.writing import write_result
        from cones.methods.outputs import check_result
        from cones.neurons.concept_neurons import SubjectInfo, sorted_subjects
        from cones.neurons.neuronfile import neurons_hash, to_bytes
        from cones.neurons.summary import summary
        from cones.search.identity import KEY, union_identity

    pairs = zip(token, class_noun, strict=True)
    subjects = sorted_subjects(
        SubjectInfo(t, noun, f"a photo of a {t} {noun}") for t, noun in pairs
    )
    path = options.output_path(out, [subject.phrase for subject in subjects])
    neurons = read_neurons(opening.backbone(), adapter, subjects)
    own = union_identity("import", neurons, [neurons_hash(neurons)])
    neurons = replace(neurons, info={**neurons.info, KEY: json.dumps(own)})
    with claimed(path):
        check_result(path, own, [adapter], overwrite)
        write_result(path, to_bytes(neurons))
    about = summary(neurons)
    if as_json:
        print_json({"file": str(path), **about})
        return
    tell(
        f"{about['neurons']:,} neurons, {about['density']:.2%} of {about['weights']:,} weights",
        f"{path}: {about['bytes']:,} bytes",
    )
