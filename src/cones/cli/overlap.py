"""`cones overlap`: what the neurons of several subjects have in common, against chance."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cones.cli import options, values
from cones.cli.console import LOADING, print_json, print_table, tell, waiting

if TYPE_CHECKING:
    from cones.neurons.overlap import JointOverlap, PairOverlap
    from cones.neurons.overlap_count import OverlapCount


def overlap(
    files: Annotated[list[Path], options.neuron_files("neuron files of one base model")],
    joint: Annotated[
        Path | None,
        options.existing(
            "--joint", "neuron file of a joint search, to compare with the union of the others"
        ),
    ] = None,
    out: options.OutPicture = Path("overlap.png"),
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Count what neurons of several subjects share, against chance."""
    if len(files) < 2:
        raise typer.BadParameter("expected two neuron files or more, found one")
    joint = joint and values.given(joint)
    with waiting(LOADING):
        from cones.cli.plots import figure_bytes, overlap_figure
        from cones.files.locks import claimed
        from cones.files.writing import write_result
        from cones.methods.outputs import check_picture
        from cones.neurons.neuronfile import load
        from cones.neurons.overlap import compared_with_joint, grouped, pairwise, words

    out = out / "overlap.png" if out.is_dir() else out
    sets = [load(path) for path in files]
    names = _distinct([words(neurons) for neurons in sets], files)
    pairs = pairwise(sets, names)
    groups = grouped(pairs)
    compared = compared_with_joint(reduce(or_, sets), load(joint)) if joint else None
    with claimed(out):
        check_picture(out, "overlap", files, overwrite)
        write_result(out, figure_bytes(overlap_figure(names, pairs, groups, compared), "overlap"))
    if as_json:
        told = {
            "pairs": [pair.as_dict() for pair in pairs],
            "groups": {name: shared.as_dict() for name, shared in groups.items()},
            "joint": compared and compared.as_dict(),
        }
        print_json({"figure": str(out), **told})
        return
    _print(pairs, compared)
    tell(out)


def _distinct(names: Sequence[str], files: Sequence[Path]) -> list[str]:
    """The names, with the name of the file where a name is of two sets."""
    stems = [path.name.removesuffix(options.SUFFIX) for path in files]
    return [
        name if names.count(name) == 1 else f"{name} ({stem})"
        for name, stem in zip(names, stems, strict=True)
    ]


def _print(pairs: "Sequence[PairOverlap]", joint: "JointOverlap | None") -> None:
    columns = ["", "shared", "by chance", "over chance", "z", "jaccard"]
    rows = [[f"{pair.first} | {pair.second}", *_cells(pair)] for pair in pairs]
    if joint is not None:
        rows.append(["union | joint", *_cells(joint.pair)])
    print_table(columns, rows)
    if joint is not None:
        tell(
            f"of the joint search's neurons {joint.of_joint:.1%} are in the union (by chance "
            f"{joint.of_joint_expected:.1%}), of the union's {joint.of_union:.1%} in the joint "
            f"search's (by chance {joint.of_union_expected:.1%})"
        )


def _cells(shared: "OverlapCount") -> list[str]:
    ratio = "-" if shared.ratio is None else f"{shared.ratio:.2f}"
    z = "-" if shared.z is None else f"{shared.z:.1f}"
    return [f"{shared.shared:,}", f"{shared.expected:,.1f}", ratio, z, f"{shared.jaccard:.4f}"]
