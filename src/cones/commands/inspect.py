"""`cones inspect`: what is in a neuron file, or how a picture was drawn."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cones.commands import options
from cones.commands.common import print_json, print_layers, tell
from cones.pngtext import SIGNATURE


def inspect(
    files: Annotated[list[Path], options.neuron_files("neuron files, or pictures drawn by cones")],
    as_json: options.AsJson = False,
) -> None:
    """Show what is in neuron files, or how pictures were drawn."""
    pictures = [_is_png(path) for path in files]
    found = [
        (_of_picture if is_picture else _of_neurons)(path)
        for path, is_picture in zip(files, pictures, strict=True)
    ]
    if as_json:
        print_json(found)
        return
    for about, is_picture in zip(found, pictures, strict=True):
        (_print_picture if is_picture else _print_neurons)(about)


def _of_picture(path: Path) -> dict[str, Any]:
    from cones.pictures import read_provenance

    said = read_provenance(path)
    return {"file": str(path), **{key: said[key] for key in said if key != "file"}}


def _of_neurons(path: Path) -> dict[str, Any]:
    from cones.neuronfile import file_hash, load
    from cones.summary import summary

    neurons = load(path)
    return {
        "file": str(path),
        "hash": file_hash(path),
        **summary(neurons),
        "info": neurons.info,
    }


def _is_png(path: Path) -> bool:
    if not path.is_file():
        return False  # `load` says why
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def _print_picture(about: Mapping[str, Any]) -> None:
    for key, text in about.items():
        if key != "parameters":  # the same again, for other programs
            tell(f"{key:<16} {text}")


def _print_neurons(about: Mapping[str, Any]) -> None:
    named = ", ".join(f"{s['token']} {s['class_noun']}" for s in about["subjects"]) or "not named"
    base = about["base"]
    facts = {
        "file": f"{about['file']} ({about['hash']})",
        "subjects": named,
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


def _bits(about: Mapping[str, Any]) -> str:
    if about["bits_per_neuron"] is None:
        return ""
    return (
        f", {about['bits_per_neuron']:.2f} bits a neuron "
        f"(entropy of the positions: {about['entropy_bound']:.2f})"
    )
