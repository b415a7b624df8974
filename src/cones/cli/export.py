"""`cones export`: neuron files in, what other programs read out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cones.cli import options, values
from cones.cli.console import LOADING, print_json, tell, waiting
from cones.cli.opening import TOYBOX, Opening, opens_model

if TYPE_CHECKING:
    from cones.neurons.concept_neurons import ConceptNeurons

Client = Literal["comfyui", "forge", "a1111", "diffusers", "shira"]
Names = Literal["diffusers", "original"]


@opens_model
def export(
    files: Annotated[list[Path], options.neuron_files("neuron files, which are united")],
    to: Annotated[Client, typer.Option("--to", help="program that is to read them")],
    out: Annotated[
        Path | None,
        typer.Option(
            *options.OUT,
            parser=values.path,
            metavar="PATH",
            help="file to write, which ends in .safetensors; for diffusers and shira a folder",
            show_default="TOKEN-NOUN.safetensors, or TOKEN-NOUN-diffusers",
        ),
    ] = None,
    strength: options.Strength = None,
    names: Annotated[
        Names | None,
        typer.Option(
            "--names",
            help="whose names to give the layers in a file",
            show_default="original of SDXL, else diffusers",
        ),
    ] = None,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Write neurons in a form that other programs read.

    It is a LoRA file, a SHiRA adapter or a whole pipeline.
    """
    with waiting(LOADING):
        import torch

        from cones.export import FOLDERS
        from cones.export import export as write
        from cones.neurons.union import union

    neurons = union(files)
    path = _path(out, neurons, to if to in FOLDERS else None)
    if names is not None and to in FOLDERS:
        raise typer.BadParameter(f"--names is of files, not of --to {to}; leave it out")
    half = opening.dtype in (None, "float16")
    dtype = torch.float16 if half else torch.float32
    write(opening.backbone(), neurons, path, to, strength, dtype=dtype, names=names)
    size = sum(each.stat().st_size for each in [path, *path.rglob("*")] if each.is_file())
    if as_json:
        print_json({"file": str(path), "to": to, "neurons": len(neurons), "bytes": size})
    else:
        tell(f"{len(neurons):,} neurons for {to}", f"{path}: {size:,} bytes")


def _path(out: Path | None, neurons: "ConceptNeurons", folder: str | None) -> Path:
    """What to write: a file, or a folder of this name."""
    phrases = [subject.phrase for subject in neurons.subjects]
    if folder is None:
        named = values.result(".safetensors", ".safetensors")(out) if out else None
        return options.output_path(named, phrases, ".safetensors")
    return values.folder(out) if out else options.output_path(None, phrases, f"-{folder}")
