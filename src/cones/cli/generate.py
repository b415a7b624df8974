"""`cones generate`: neuron files or another artifact and prompts in, pictures out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cones.cli import options
from cones.cli.console import (
    LOADING,
    print_json,
    progress,
    tell,
    waiting,
)
from cones.cli.opening import TOYBOX, Opening, opens_model
from cones.errors import InputError

if TYPE_CHECKING:
    from cones.sampling.artifact import Artifact
    from cones.sampling.pictures import Picture

SHEET_ROWS, SHEET_COLUMNS = 200, 50  # at most
SHEET = "contact_sheet.png"


@opens_model
def generate(
    neurons: Annotated[
        list[Path],
        options.neuron_files("neuron files, shut together, or the artifact of another method"),
    ] = [],  # noqa: B006  (typer copies it)
    prompt: Annotated[list[str], options.prompt("a photo of a {}")] = [],  # noqa: B006
    prompts: Annotated[Path | None, options.prompts("none")] = None,
    num_images: options.NumImages = 1,
    seed: Annotated[int, options.seed()] = 0,
    strength: options.Strength = None,
    no_neurons: Annotated[
        bool, typer.Option("--no_neurons", help="shut nothing, to compare with")
    ] = False,
    steps: options.InferenceSteps = 20,
    guidance: options.Guidance = 5.0,
    negative_prompt: Annotated[
        str,
        typer.Option(
            "--negative_prompt", metavar="TEXT", help="what not to draw", show_default=False
        ),
    ] = "",
    height: options.Height = None,
    width: options.Width = None,
    batch: options.DrawnAtOnce = 8,
    out: Annotated[Path, options.out_folder("folder for the pictures")] = Path("out"),
    overwrite: options.Overwrite = False,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Draw prompts with concept neurons shut."""
    with waiting(LOADING):
        from cones.files.textfiles import read_prompts
        from cones.files.writing import writable_folder
        from cones.methods.artifact import Cones, load_artifact
        from cones.methods.outputs import check_picture
        from cones.sampling.generate import generate as draw
        from cones.sampling.pictures import Picture, save_pictures

    artifacts = [load_artifact(path) for path in neurons]
    sets = [each.neurons for each in artifacts if isinstance(each, Cones)]
    other = _only([each for each in artifacts if not isinstance(each, Cones)])
    wanted = _filled([*prompt, *(read_prompts(prompts) if prompts else [])], artifacts)
    check_picture(writable_folder(out) / SHEET, "sheet", overwrite=overwrite)
    backbone = opening.backbone()
    paths: list[Path] = []
    with progress() as on_progress:

        def keep(picture: Picture) -> None:  # at once: what is drawn survives an interruption
            paths.extend(save_pictures([picture], out))
            on_progress("draw", len(paths), len(wanted) * num_images, {})

        pictures = draw(
            backbone,
            wanted,
            range(seed, seed + num_images),
            neurons=None if no_neurons or not sets else sets,
            strength=None if no_neurons else strength,
            artifact=None if no_neurons else other,
            steps=steps,
            guidance=guidance,
            negative_prompt=negative_prompt,
            batch=batch,
            height=height,
            width=width,
            on_picture=keep,
        )
    _print(pictures, paths, _save_sheet(pictures, wanted, out), as_json)


def _only(artifacts: "Sequence[Artifact]") -> "Artifact | None":
    """The one artifact besides neurons, if there is one."""
    if len(artifacts) > 1:
        found = " and ".join(each.method for each in artifacts)
        raise InputError(
            f"neurons: expected at most one artifact besides neuron files, found {found}; fit "
            "their subjects together with `cones fit`"
        )
    return artifacts[0] if artifacts else None


def _filled(prompts: Sequence[str], artifacts: "Sequence[Artifact]") -> list[str]:
    """The prompts with the subjects' words for `{}`: "an ohwx mug and a sks robot" for "a {}".

    Their order is that of the files.
    """
    from cones.neurons.phrases import fill, join_phrases
    from cones.neurons.union import all_subjects

    words = join_phrases(subject.phrase for subject in all_subjects(artifacts))
    prompts = prompts or (["a photo of a {}"] if words else [])
    if not prompts:
        raise typer.BadParameter("give a --prompt, or --neurons whose subject is to be drawn")
    if not words and any("{}" in prompt for prompt in prompts):
        raise typer.BadParameter("{} in a prompt stands for a subject: name its --neurons")
    return [fill(prompt, words) for prompt in prompts]


def _save_sheet(pictures: "Sequence[Picture]", prompts: Sequence[str], out: Path) -> Path:
    """Writes `contact_sheet.png`, in place of that of an earlier run: prompts down, seeds right.

    Of more than people look at, it shows the first.
    """
    from cones.files.writing import write_result
    from cones.sampling.pictures import KIND, contact_sheet, png_bytes

    count = len(pictures) // len(prompts)
    rows = [
        [picture.image for picture in pictures[start : start + count][:SHEET_COLUMNS]]
        for start in range(0, len(pictures), count)
    ][:SHEET_ROWS]
    prompts, seeds = prompts[:SHEET_ROWS], [f"seed {each.seed}" for each in pictures[:count]]
    path = out / SHEET
    sheet = contact_sheet(rows, prompts, seeds[:SHEET_COLUMNS])
    write_result(path, png_bytes(sheet, {KIND: "sheet"}))
    return path


def _print(
    pictures: "Sequence[Picture]", paths: Sequence[Path], sheet: Path, as_json: bool
) -> None:
    if as_json:
        drawn = [
            {"file": str(path), **picture.provenance}
            for path, picture in zip(paths, pictures, strict=True)
        ]
        print_json({"pictures": drawn, "contact_sheet": str(sheet)})
        return
    for path in paths:
        tell(path)
    tell(sheet)
