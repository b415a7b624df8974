"""`cones attention`: where each word of a prompt is looked at, before and after shutting."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cones.checks import MAX_IMAGES
from cones.cli import options
from cones.cli.console import (
    LOADING,
    print_json,
    print_table,
    progress,
    tell,
    waiting,
)
from cones.cli.opening import TOYBOX, Opening, opens_model
from cones.cli.parsing import refuse_without_effect
from cones.cli.photographs import one_source
from cones.text import with_error

if TYPE_CHECKING:
    from cones.evaluation.localisation import Localisation
    from cones.neurons.concept_neurons import ConceptNeurons


@opens_model
def attention(
    context: typer.Context,
    neurons: Annotated[list[Path], options.neuron_files("neuron files, shut together")],
    prompt: Annotated[str, options.prompt()] = "a photo of a {}",
    seed: Annotated[int, options.seed()] = 0,
    steps: options.InferenceSteps = 20,
    guidance: options.Guidance = 5.0,
    strength: options.Strength = None,
    resolution: Annotated[
        int | None,
        options.count(
            "--resolution", most=MAX_IMAGES, help="side of the maps", default="the finest"
        ),
    ] = None,
    images: Annotated[
        list[Path],
        options.images(
            "photographs of a subject of the toybox, to measure how well its maps find it: a "
            "folder, or files"
        ),
    ] = [],  # noqa: B006  (typer copies it)
    num_renders: Annotated[
        int,
        options.count(
            "--num_renders", most=MAX_IMAGES, help="fresh renders to measure with --images on"
        ),
    ] = 32,
    out: options.OutPicture = Path("attention.png"),
    overwrite: options.Overwrite = False,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Map where each word of a prompt is looked at.

    The maps are drawn for the base model and with the neurons shut.
    """
    refuse_without_effect(context, {} if images else {"num_renders": "with --images"})
    with waiting(LOADING):
        from cones.cli.plots import attention_figure, figure_bytes
        from cones.evaluation.localisation import localise
        from cones.files.locks import claimed
        from cones.files.writing import write_result
        from cones.methods.outputs import check_picture
        from cones.neurons.neuronfile import load
        from cones.sampling.attention import attention_maps
        from cones.toybox.reference import RENDERS

    sets = [load(path) for path in neurons]
    source = one_source(images) if images else None
    if source is not None and len(sets) > 1:
        raise typer.BadParameter("--images is of one subject: give one --neurons with it")
    prompt = _filled(prompt, sets)
    out = out / "attention.png" if out.is_dir() else out
    measured = None
    rows = {}
    with claimed(out):
        check_picture(out, "attention", neurons, overwrite)
        backbone = opening.backbone()
        if source is not None:
            with waiting("measuring on fresh renders"):
                measured = localise(
                    backbone,
                    sets[0],
                    source if isinstance(source, Path) else source[0].parent,
                    RENDERS,
                    num_renders,
                    strength,
                    seed=seed,
                    resolution=resolution,
                )
        with progress() as on_progress:
            for label, shut, power in (("before", None, None), ("after", sets, strength)):
                rows[label] = attention_maps(
                    backbone, prompt, seed, shut, power, steps, guidance, resolution
                )
                on_progress("draw", len(rows), 2, {})
        write_result(out, figure_bytes(attention_figure(rows), "attention"))
    if as_json:
        maps = rows["after"]
        print_json(
            {
                "figure": str(out),
                "prompt": prompt,
                "seed": seed,
                "tokens": list(maps.tokens),
                "resolution": maps.maps.shape[-1],
                "localisation": [each.as_dict() for each in measured] if measured else None,
            }
        )
        return
    if measured:
        _print(measured)
    tell(out)


def _filled(prompt: str, sets: "Sequence[ConceptNeurons]") -> str:
    """The prompt with the subjects' words for `{}`."""
    from cones.neurons.phrases import fill, join_phrases

    named = [each.phrase for neurons in sets for each in neurons.subjects]
    if "{}" in prompt and not named:
        raise typer.BadParameter("{} in --prompt stands for a subject: the neurons name none")
    return fill(prompt, join_phrases(named))


def _print(measured: "Sequence[Localisation]") -> None:
    columns = ["word", "figure", "before", "after", "gain"]
    rows = [
        [each.word, name, *(with_error(*part, ".3f") for part in (c.before, c.after, c.gain))]
        for each in measured
        for name, c in (("AUROC", each.auroc), ("best IoU", each.iou))
    ]
    print_table(columns, rows)
