"""The options that commands share, each defined once: its names, how it is read, and its help.

An option means the same in every command; only its default is the command's own. Where a script of
diffusers has a name for it, that name serves too. `_` and `-` are the same in all names.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cones.checks import MAX_BATCH, MAX_IMAGES, MAX_SEED, MAX_SEEDS
from cones.cli import values

SUFFIX = ".cones.safetensors"
OUT = ("--out", "-o", "--output", "--output_dir")
Precision = Literal["no", "bf16", "fp16"]


# -- what goes in and out --------------------------------------------------------------------------


def neuron_files(help: str) -> Any:
    """The neuron files of a command: its arguments, or one `--neurons` for each."""
    return typer.Argument(
        metavar="FILE",
        help=f"{help}; or --neurons FILE, once for each",
        parser=values.given,
        callback=_once,
        show_default=False,
    )


def _once(files: Any) -> Any:
    """Refuses a file that is given twice; an empty list and a single file pass."""
    seen: set[Path] = set()
    for each in files if isinstance(files, list | tuple) else ():
        if (real := each.resolve()) in seen:
            raise typer.BadParameter(f"{each} is given twice; give each file once")
        seen.add(real)
    return files


def images(help: str) -> Any:
    """Folders of photographs."""
    names = ("--images", "--instance_data_dir", "--train_data_dir")
    return typer.Option(*names, parser=values.path, metavar="PATH", help=help)


def out_file(default: str | bool, suffix: str = SUFFIX) -> Any:
    """Where neurons or weights go."""
    return typer.Option(
        *OUT,
        parser=values.result(".safetensors", suffix),
        metavar="PATH",
        help="file that ends in .safetensors, or folder",
        show_default=default,
    )


def output_path(out: Path | None, phrases: Sequence[str], suffix: str = SUFFIX) -> Path:
    """The file to write; what does not end in .safetensors is a folder.

    By default it is called after the subjects: "sks robot" and "ohwx mug" make
    `sks-robot-ohwx-mug.cones.safetensors`.
    """
    words = re.findall(r"[^\W_]+", " ".join(phrases))
    name = ("-".join(words)[:60].rstrip("-") or "subject") + suffix
    if out is None:
        return Path(name)
    return out if out.suffix == ".safetensors" and not out.is_dir() else out / name


def out_folder(help: str) -> Any:
    """Where several files go."""
    return typer.Option(*OUT, parser=values.folder, metavar="PATH", help=help)


OutPicture = Annotated[
    Path,
    typer.Option(*OUT, parser=values.picture, metavar="PATH", help="the figure, or its folder"),
]


def existing(name: str, help: str, default: str | bool = False) -> Any:
    """Another file or folder to be read."""
    return typer.Option(name, parser=values.path, metavar="PATH", help=help, show_default=default)


def folder(name: str, help: str) -> Any:
    """Another folder that is written to."""
    return typer.Option(name, parser=values.folder, metavar="PATH", help=help)


def neurons(name: str, help: str) -> Any:
    """Other neuron files."""
    return typer.Option(name, parser=values.given, metavar="FILE", help=help)


def prompts(default: str) -> Any:
    """Files of prompts."""
    return existing("--prompts", "text file with a prompt a line; {} is the subject", default)


def prompt(default: str | bool = True) -> Any:
    """Prompts, or a prompt."""
    return typer.Option(
        "--prompt", help="what to draw; {} stands for the subjects' words", show_default=default
    )


Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="replace even what is no older result of this command")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for machines")]
ClassNouns = Annotated[
    list[str],
    typer.Option(
        "--class_noun",
        "--initializer_token",
        help="what kind of thing the subject is: robot; once for each subject",
    ),
]
Tokens = Annotated[
    list[str],
    typer.Option(
        "--token",
        "--placeholder_token",
        "--modifier_token",
        help="rare word that prompts call the subject by; once for each subject",
    ),
]

# -- searching and training ------------------------------------------------------------------------


MixedPrecision = Annotated[
    Precision, typer.Option("--mixed_precision", help="autocast of the search or the training")
]
GradientCheckpointing = Annotated[
    bool,
    typer.Option("--gradient_checkpointing", help="less memory, more time for each step"),
]


def steps(default: str | bool = True) -> Any:
    """Steps of a search or a training."""
    return typer.Option(
        "--steps",
        "--max_train_steps",
        parser=values.whole(1),
        help="steps of the search or the training, for each subject",
        show_default=default,
    )


def batch(default: str | bool = True) -> Any:
    """Samples in a step."""
    return typer.Option(
        "--batch",
        "--train_batch_size",
        parser=values.whole(1, MAX_BATCH),
        help="samples of each subject in a step",
        show_default=default,
    )


def rate(default: str | bool = True, unit: str = "") -> Any:
    """The optimiser's."""
    return typer.Option(
        "--rate",
        "--learning_rate",
        parser=values.number,
        help=f"learning rate of the optimiser{unit}",
        show_default=default,
    )


def prior_weight(default: str) -> Any:
    """The paper's lambda."""
    return typer.Option(
        "--prior_weight",
        "--prior_loss_weight",
        parser=values.number,
        help="how much all else stays as it is",
        show_default=default,
    )


def prior_images(default: str) -> Any:
    """Those that are drawn."""
    return typer.Option(
        "--prior_images",
        "--num_class_images",
        parser=values.whole(1, MAX_IMAGES),
        help="images that the model draws of the class, for the prior",
        show_default=default,
    )


def seed(default: str | bool = True) -> Any:
    """Of all that is random."""
    return typer.Option(
        "--seed",
        parser=values.whole(0, MAX_SEED),
        help="of everything random; pictures of a prompt have it and those after it",
        show_default=default,
    )


# -- drawing ---------------------------------------------------------------------------------------

NumImages = Annotated[
    int,
    typer.Option(
        "--num_images",
        "--num_images_per_prompt",
        parser=values.whole(1, MAX_SEEDS),
        help="pictures of each prompt: seeds from --seed on",
    ),
]
Strength = Annotated[
    float | None,
    typer.Option(
        "--strength",
        parser=values.number,
        help="of the shutting, 0 to 2: 1 sets to zero, 2 flips the sign",
        show_default="what the neurons recommend",
    ),
]
InferenceSteps = Annotated[
    int,
    typer.Option(
        "--num_inference_steps",
        "--steps",
        parser=values.whole(1),
        help="steps of the solver that draws",
    ),
]
Guidance = Annotated[
    float,
    typer.Option(
        "--guidance",
        "--guidance_scale",
        parser=values.number,
        help="weight of classifier-free guidance",
    ),
]
DrawnAtOnce = Annotated[
    int,
    typer.Option(
        "--batch",
        "--batch_size",
        parser=values.whole(1, MAX_BATCH),
        help="pictures drawn at once",
    ),
]
Height = Annotated[
    int | None,
    typer.Option(
        "--height",
        parser=values.whole(1),
        help="of the pictures, in pixels",
        show_default="the model's own",
    ),
]
Width = Annotated[
    int | None,
    typer.Option(
        "--width",
        parser=values.whole(1),
        help="of the pictures, in pixels",
        show_default="the model's own",
    ),
]

# -- scoring ---------------------------------------------------------------------------------------

ProtocolName = Annotated[
    str,
    typer.Option(
        "--protocol",
        help="how to score: toybox for the toybox alone; cones or custom-diffusion for others",
    ),
]
Clip = Annotated[
    str | None,
    typer.Option(
        "--clip",
        parser=values.place,
        metavar="NAME",
        help="CLIP of the protocol: a folder or hub name",
        show_default="its own",
    ),
]
Dino = Annotated[
    str | None,
    typer.Option(
        "--dino",
        parser=values.place,
        metavar="NAME",
        help="DINO of the protocol: a folder or hub name",
        show_default="its own",
    ),
]
