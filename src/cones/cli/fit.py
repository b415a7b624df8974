"""`cones fit`: photographs in, the artifact of any method out."""

import json
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from cones.cli.photographs import (
    read_class_images,
    read_subjects,
    require_one_of_each,
    say_what_is_small,
    sources,
)
from cones.methods import MethodName

if TYPE_CHECKING:
    from cones.sampling.artifact import Artifact

SETTINGS = (
    "steps", "rate", "batch", "prior_batch", "prior_weight", "prior_images", "rank",
    "train_text_encoder", "seed",
)  # fmt: skip
OWN = "the method's own"


@opens_model
def fit(
    context: typer.Context,
    method: Annotated[MethodName, typer.Option("--method", help="method to fit with")],
    images: Annotated[list[Path], options.images()],
    class_noun: options.ClassNouns,
    token: options.Tokens = ["sks"],  # noqa: B006  (typer copies it)
    out: Annotated[
        Path | None, options.out_file("TOKEN-NOUN.METHOD.safetensors", ".safetensors")
    ] = None,
    overwrite: options.Overwrite = False,
    steps: Annotated[int | None, options.steps(OWN)] = None,
    batch: Annotated[int | None, options.batch(OWN)] = None,
    rate: Annotated[float | None, options.rate(OWN)] = None,
    prior_batch: Annotated[int | None, options.prior_batch(OWN)] = None,
    prior_weight: Annotated[float | None, options.prior_weight(OWN)] = None,
    prior_images: Annotated[int | None, options.prior_images(OWN)] = None,
    rank: Annotated[
        int | None,
        options.count("--rank", help="rank of a LoRA", default="4"),
    ] = None,
    train_text_encoder: Annotated[
        bool | None,
        typer.Option("--train_text_encoder", help="train the text encoder too, with DreamBooth"),
    ] = None,
    seed: Annotated[int | None, options.seed("0")] = None,
    class_data_dir: options.ClassDataDir = [],  # noqa: B006
    mixed_precision: options.MixedPrecision = "no",
    gradient_checkpointing: options.GradientCheckpointing = False,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """Fit subjects with Cones or with one of its rivals."""
    require_one_of_each(
        {"--images": len(sources(images)), "--class_noun": len(class_noun), "--token": len(token)}
    )
    with waiting(LOADING):
        from cones.files.locks import claimed
        from cones.files.writing import write_result
        from cones.methods.artifact import with_info
        from cones.methods.outputs import check_result
        from cones.methods.registry import METHODS
        from cones.search.identity import KEY, identity, model_identity

    config = _config(method, METHODS[method].defaults, context.params)
    subjects, photos = read_subjects(sources(images), class_noun, token)
    class_images = read_class_images(subjects, class_data_dir)
    path = options.output_path(
        out, [subject.phrase for subject in subjects], f".{method}.safetensors"
    )
    backbone = opening.backbone(mixed_precision, gradient_checkpointing)
    say_what_is_small(photos, backbone)
    own = identity(method, model_identity(backbone), subjects, config, class_images)
    started = time.monotonic()
    with claimed(path):
        check_result(path, own, overwrite=overwrite)
        with progress() as on_progress:
            artifact = METHODS[method].fit(backbone, subjects, config, class_images, on_progress)
        artifact = with_info(artifact, {KEY: json.dumps(own)})
        write_result(path, artifact.to_bytes())
    _print(artifact, path, time.monotonic() - started, as_json)


def _config(method: str, defaults: Any, given: dict[str, Any]) -> Any:
    """The method's configuration with those options that were given: they have its names."""
    changes = {name: given[name] for name in SETTINGS if given[name] is not None}
    known = {field.name for field in fields(defaults)}
    if not defaults.prior_batch:
        known -= {"prior_batch", "prior_weight", "prior_images"}
    for name in changes.keys() - known:
        raise typer.BadParameter(f"--{name} is no option of --method {method}; leave it out")
    return replace(defaults, **changes)


def _print(artifact: "Artifact", path: Path, seconds: float, as_json: bool) -> None:
    report, size = json.loads(artifact.info["report"]), artifact.nbytes()
    if as_json:
        print_json(
            {
                "file": str(path),
                "method": artifact.method,
                "subjects": [vars(subject) for subject in artifact.subjects],
                "bytes": size,
                "digest": artifact.digest(),
                "report": report,
                "seconds": round(seconds, 1),
            }
        )
        return
    rows = [
        [f"loss on {what}", *(f"{report[when][key]:.5f}" for when in ("before", "after"))]
        for what, key in (("the subjects", "subject"), ("the prior", "prior"))
        if key in report["after"]
    ]
    print_table(["held-out noise", "before", "after"], rows)
    tell(
        f"{artifact.method}, fitted in {seconds:.0f} s",
        f"{path}: {size:,} bytes",
        f'next: cones generate --neurons "{path}" --prompt "a photo of a {{}} in the snow"',
    )
