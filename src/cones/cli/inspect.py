"""`cones inspect`: what is in a neuron file or another artifact, or how a picture was drawn."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cones.cli import options
from cones.cli.config import to_toml
from cones.cli.console import LOADING, print_json, print_layers, tell, waiting
from cones.errors import InputError
from cones.subjects.pngtext import SIGNATURE

About = dict[str, Any]


def inspect(
    context: typer.Context,
    files: Annotated[
        list[Path],
        options.neuron_files("neuron files, other artifacts, or pictures drawn by cones"),
    ],
    config: Annotated[
        bool,
        typer.Option(
            "--config", help="print how a neuron file was made, for --config of that command"
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what a neuron file holds, or how a picture was drawn.

    What --config prints makes the same file again: `cones inspect FILE --config > again.toml`,
    then `cones find --config again.toml --images PHOTOGRAPHS`.
    """
    if config:
        _print_config(context, files, as_json)
        return
    kinds = [_kind(path) for path in files]
    found = [read(path) for path, (read, _) in zip(files, kinds, strict=True)]
    if as_json:
        print_json(found)
        return
    for about, (_, show) in zip(found, kinds, strict=True):
        show(about)


def _print_config(context: typer.Context, files: Sequence[Path], as_json: bool) -> None:
    """Print the options that make a file again, with remarks where they do not suffice."""
    from cones.cli.recipe import recipe_of
    from cones.neurons.container import format_name
    from cones.neurons.neuronfile import load

    if len(files) != 1:
        raise typer.BadParameter(f"--config: expected one file, found {len(files)}")
    (path,) = files
    if format_name(path) not in ("", "cones"):
        raise InputError(f"{path}: --config is of neuron files; name one")
    recipe = recipe_of(load(path), path)
    if as_json:
        print_json(recipe.settings)
    else:
        tell(*(f"# {line}" for line in recipe.remarks), *to_toml(recipe.settings).splitlines())


def _kind(path: Path) -> tuple[Callable[[Path], About], Callable[[About], None]]:
    """What reads a file, and what shows what it says."""
    from cones.neurons.container import format_name

    if _is_png(path):
        return _of_picture, _print_facts
    if format_name(path) not in ("", "cones"):
        return _of_artifact, _print_facts
    return _of_neurons, _print_neurons


def _of_picture(path: Path) -> About:
    from cones.sampling.pictures import read_provenance

    said = read_provenance(path)
    return {"file": str(path), **{key: said[key] for key in said if key != "file"}}


def _of_neurons(path: Path) -> About:
    from cones.neurons.neuronfile import file_hash, load
    from cones.neurons.summary import summary

    neurons = load(path)
    return {
        "file": str(path),
        "hash": file_hash(path),
        **summary(neurons),
        "info": neurons.info,
    }


def _of_artifact(path: Path) -> About:
    with waiting(LOADING):
        from cones.methods.artifact import load_artifact

    artifact = load_artifact(path)
    return {
        "file": str(path),
        "hash": artifact.digest(),
        "method": artifact.method,
        "subjects": [vars(subject) for subject in artifact.subjects],
        "bytes": artifact.nbytes(),
        "info": dict(artifact.info),
    }


def _is_png(path: Path) -> bool:
    if not path.is_file():
        return False  # `load` says why
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def _print_facts(about: About) -> None:
    for key, fact in about.items():
        if key not in ("parameters", "info"):  # for other programs
            tell(f"{key:<16} {fact if isinstance(fact, str | int) else _named(fact)}")


def _named(subjects: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(f"{each['token']} {each['class_noun']}" for each in subjects) or "not named"


def _print_neurons(about: About) -> None:
    base = about["base"]
    facts = {
        "file": f"{about['file']} ({about['hash']})",
        "subjects": _named(about["subjects"]),
        "base model": f"{base['name'] or 'unknown'} ({base['fingerprint'][:8] or 'unknown'})",
        "algorithm": about["algorithm"] or "unknown",
        "neurons": f"{about['neurons']:,} of {about['weights']:,} weights, {about['density']:.3%}",
        "values": "tuned" if about["tuned"] else "none, they are shut",
        "strength": f"{about['strength']:g}",
        "size": f"{about['bytes']:,} bytes" + _bits(about),
    }
    for name, fact in facts.items():
        tell(f"{name:<16} {fact}")
    print_layers(about)


def _bits(about: About) -> str:
    if about["bits_per_neuron"] is None:
        return ""
    return (
        f", {about['bits_per_neuron']:.2f} bits a neuron "
        f"(entropy of the positions: {about['entropy_bound']:.2f})"
    )
