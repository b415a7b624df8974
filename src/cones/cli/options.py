"""The options that commands share, each defined once: its names, how it is read, and its help.

An option means the same in every command; only its default is the command's own. Where a script of
diffusers has a name for it, that name serves too. `_` and `-` are the same in all names. Those of
the base model stand in `cones.cli.opening`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from cones.checks import MAX_BATCH, MAX_IMAGES, MAX_SEED, MAX_SEEDS
from cones.cli import values

SUFFIX = ".cones.safetensors"
OUT = ("--out", "-o", "--output", "--output_dir")
Config = TypeVar("Config")
Precision = Literal["no", "bf16", "fp16"]


def count(*names: str, help: str, most: int | None = None, default: str | bool = True) -> Any:
    """A whole number from 1 on, up to `most`."""
    return typer.Option(
        *names, parser=values.whole(1, most), metavar="NUMBER", help=help, show_default=default
    )


def number(*names: str, help: str, default: str | bool = True) -> Any:
    """A number."""
    return typer.Option(
        *names, parser=values.number, metavar="NUMBER", help=help, show_default=default
    )


def name(*names: str, help: str, default: str | bool = True) -> Any:
    """A name, or a path with the home folder for `~`."""
    return typer.Option(
        *names, parser=values.place, metavar="NAME", help=help, show_default=default
    )


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
    """Refuse a file that is given twice; an empty list and a single file pass."""
    seen: set[Path] = set()
    for each in files if isinstance(files, list | tuple) else ():
        if (real := each.resolve()) in seen:
            raise typer.BadParameter(f"{each} is given twice; give each file once")
        seen.add(real)
    return files


def images(help: str = "photographs of the subject: a folder, or files; once for each") -> Any:
    """Photographs, see `cones.cli.photographs.sources`."""
    names = ("--images", "--instance_data_dir", "--train_data_dir")
    return typer.Option(*names, parser=values.path, metavar="PATH", help=help)


ClassDataDir = Annotated[
    list[Path],
    typer.Option(
        "--class_data_dir",
        parser=values.path,
        metavar="PATH",
        help="images of the class for the prior: a folder; once for each subject",
        show_default="the model draws them",
    ),
]


def out_file(default: str | bool, suffix: str = SUFFIX) -> Any:
    """Where neurons or weights go."""
    return typer.Option(
        *OUT,
        parser=values.result(".safetensors", suffix),
        metavar="PATH",
        help="file to write, which ends in .safetensors, or its folder",
        show_default=default,
    )


def output_path(out: Path | None, phrases: Sequence[str], suffix: str = SUFFIX) -> Path:
    """The file to write; what does not end in .safetensors is a folder.

    By default it is called after the subjects: "sks robot" and "ohwx mug" make
    `sks-robot-ohwx-mug.cones.safetensors`.

    Args:
        out: what `--out` says.
        phrases: what the subjects are called in prompts.
        suffix: of the file's default name.
    """
    words = re.findall(r"[^\W_]+", " ".join(phrases))
    name = ("-".join(words)[:60].rstrip("-") or "subject") + suffix
    if out is None:
        return Path(name)
    return out if out.suffix == ".safetensors" and not out.is_dir() else out / name


def given_config(kind: "type[Config]", given: Mapping[str, Any]) -> "Config":
    """A configuration of the options that were given, which have the names of its fields.

    Args:
        kind: of the configuration, a dataclass.
        given: parameters of a command; None for an option that was not given.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: v for k, v in given.items() if k in names and v is not None})


def out_folder(help: str) -> Any:
    """Where several files go."""
    return typer.Option(*OUT, parser=values.folder, metavar="PATH", help=help)


OutPicture = Annotated[
    Path,
    typer.Option(
        *OUT, parser=values.picture, metavar="PATH", help="picture to write, or its folder"
    ),
]


def existing(name: str, help: str, default: str | bool = False) -> Any:
    """Another file or folder to be read."""
    return typer.Option(name, parser=values.path, metavar="PATH", help=help, show_default=default)


def folder(name: str, help: str, default: str | bool = True) -> Any:
    """Another folder that is written to."""
    return typer.Option(name, parser=values.folder, metavar="PATH", help=help, show_default=default)


def prompts(default: str) -> Any:
    """Files of prompts."""
    return existing("--prompts", "text file of prompts, one a line; {} is the subject", default)


def prompt(default: str | bool = True) -> Any:
    """Prompts, or a prompt."""
    return typer.Option(
        "--prompt",
        parser=values.words,
        metavar="TEXT",
        help="what to draw; {} stands for the subjects",
        show_default=default,
    )


Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace any file that is in the way")]
DryRun = Annotated[bool, typer.Option("--dry_run", help="list what would be done, and do nothing")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
ClassNouns = Annotated[
    list[str],
    typer.Option(
        "--class_noun",
        "--initializer_token",
        metavar="NOUN",
        help="what kind of thing the subject is, such as robot; once for each subject",
    ),
]
Tokens = Annotated[
    list[str],
    typer.Option(
        "--token",
        "--placeholder_token",
        "--modifier_token",
        metavar="WORD",
        help="rare word that prompts call the subject by; once for each subject",
    ),
]

# -- searching and training ------------------------------------------------------------------------

MixedPrecision = Annotated[
    Precision, typer.Option("--mixed_precision", help="type to compute in, by autocast")
]
GradientCheckpointing = Annotated[
    bool,
    typer.Option("--gradient_checkpointing", help="take less memory, and longer for each step"),
]


def steps(default: str | bool = True) -> Any:
    """Steps of a search or a training."""
    help = "steps of the optimiser for each subject"
    return count("--steps", "--max_train_steps", help=help, default=default)


def batch(default: str | bool = True) -> Any:
    """Samples in a step."""
    help = "samples of each subject in a step"
    return count("--batch", "--train_batch_size", most=MAX_BATCH, help=help, default=default)


def rate(default: str | bool = True, unit: str = "") -> Any:
    """The optimiser's."""
    help = f"learning rate of the optimiser{unit}"
    return number("--rate", "--learning_rate", help=help, default=default)


def prior_batch(default: str) -> Any:
    """Samples of the prior in a step."""
    help = "samples of the prior in a step"
    return count("--prior_batch", most=MAX_BATCH, help=help, default=default)


def prior_weight(default: str) -> Any:
    """The paper's lambda."""
    help = "weight of the prior, which keeps everything else as it is"
    return number("--prior_weight", "--prior_loss_weight", help=help, default=default)


def prior_images(default: str) -> Any:
    """Those that are drawn."""
    help = "images of each class that the model draws for the prior"
    names = ("--prior_images", "--num_class_images")
    return count(*names, most=MAX_IMAGES, help=help, default=default)


def distill(default: str) -> Any:
    """The target of the prior."""
    help = "compare the prior with what the base model predicts, or with the noise"
    return typer.Option("--distill/--no_distill", help=help, show_default=default)


def seed(default: str | bool = True) -> Any:
    """Of all that is random."""
    return typer.Option(
        "--seed",
        parser=values.whole(0, MAX_SEED),
        metavar="NUMBER",
        help="seed of everything random; of several pictures, that of the first",
        show_default=default,
    )


# -- drawing ---------------------------------------------------------------------------------------

NumImages = Annotated[
    int,
    count(
        "--num_images",
        "--num_images_per_prompt",
        most=MAX_SEEDS,
        help="pictures of each prompt, each with a seed of its own",
    ),
]
Strength = Annotated[
    float | None,
    number(
        "--strength",
        help="how far to shut the neurons, 0 to 2: 1 sets them to zero, 2 flips their sign",
        default="what the neurons recommend",
    ),
]
InferenceSteps = Annotated[
    int, count("--num_inference_steps", "--steps", help="steps in which a picture is drawn")
]
Guidance = Annotated[
    float, number("--guidance", "--guidance_scale", help="scale of classifier-free guidance")
]
DrawnAtOnce = Annotated[
    int, count("--batch", "--batch_size", most=MAX_BATCH, help="pictures drawn at once")
]
OWN = "the model's own"
Height = Annotated[
    int | None, count("--height", help="height of the pictures in pixels", default=OWN)
]
Width = Annotated[int | None, count("--width", help="width of the pictures in pixels", default=OWN)]

# -- scoring ---------------------------------------------------------------------------------------

ProtocolName = Annotated[
    str,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help="how to score: toybox for the toybox alone; cones or custom-diffusion for others",
    ),
]
SCORER = "the protocol's own"
Clip = Annotated[
    str | None, name("--clip", help="CLIP that scores: a folder or a hub name", default=SCORER)
]
Dino = Annotated[
    str | None, name("--dino", help="DINO that scores: a folder or a hub name", default=SCORER)
]
