"""`cones evaluate`: how well the neurons of a subject work."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cones.cli import options
from cones.cli.console import (
    LOADING,
    print_json,
    print_table,
    progress,
    protocol_in_words,
    tell,
    waiting,
)
from cones.cli.opening import TOYBOX, Opening, opens_model
from cones.cli.photographs import one_source, read_photos, say_what_is_small
from cones.text import with_error


@opens_model
def evaluate(
    neurons: Annotated[Path, options.neuron_files("neuron file of one subject")],
    images: Annotated[list[Path], options.images("photographs of the subject: a folder, or files")],
    prompts: Annotated[Path | None, options.prompts("built in")] = None,
    num_images: options.NumImages = 4,
    seed: Annotated[int, options.seed()] = 0,
    strength: options.Strength = None,
    protocol: options.ProtocolName = "toybox",
    clip: options.Clip = None,
    dino: options.Dino = None,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Measure how well pictures show a subject and follow prompts."""
    with waiting(LOADING):
        from cones.evaluation import PROMPTS, named_protocol
        from cones.evaluation import evaluate as measure
        from cones.files.textfiles import read_prompts
        from cones.neurons.neuronfile import load

    found = load(neurons)
    measured_by = named_protocol(protocol, clip, dino, not opening.allow_download)
    texts = read_prompts(prompts) if prompts else PROMPTS
    source = one_source(images)
    photos = read_photos(source)
    backbone = opening.backbone()
    say_what_is_small([photos], backbone)
    seeds = range(seed, seed + num_images)
    with progress() as on_progress:
        evaluation = measure(
            backbone,
            found,
            source if isinstance(source, Path) else photos.images,
            texts,
            seeds,
            strength=strength,
            protocol=measured_by,
            on_progress=on_progress,
        )
    if as_json:
        print_json(evaluation.as_dict())
    else:
        _print(evaluation.as_dict())


def _print(result: Mapping[str, Any]) -> None:
    rows = []
    for name in ("text_alignment", "image_alignment", "dino_alignment"):
        if name not in result:
            continue
        error = result["se"].get(name)
        ceiling = result["ceiling"]
        rows.append(
            [
                name.replace("_", " "),
                f"{result['floor'][name]:.3f}",
                with_error(result[name], error, ".3f"),
                f"{ceiling[name]:.3f}" if ceiling else "unknown",
            ]
        )
    print_table(["", "base model", "neurons shut", "ceiling"], rows)
    tell(
        f"drift without the token: {result['drift']:.3f}; its class is seen in "
        f"{result['presence']:.0%} of the pictures",
        f"{result['n']} pictures, strength {result['strength']:g}, {result['density']:.2%} of the "
        f"weights, {result['bytes']:,} bytes; {protocol_in_words(result['protocol'])}",
    )
