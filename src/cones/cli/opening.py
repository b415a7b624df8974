"""The base model of a command: its options, the same in all commands, and how they open it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cones.cli import options
from cones.cli.console import waiting

if TYPE_CHECKING:
    from cones.models.backbone import Backbone


Model = Annotated[
    str,
    options.name(
        "--model",
        "--pretrained_model_name_or_path",
        help="base model: toybox, a diffusers folder, a .safetensors file or a hub name",
    ),
]
Variant = Annotated[
    str | None,
    options.name(
        "--variant",
        help="which of the model's files to open, such as fp16",
        default="the plain ones, if any",
    ),
]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    typer.Option(
        "--dtype",
        "--torch_dtype",
        help="type of the model's weights",
        show_default="float32 on a CPU, half of it on a GPU",
    ),
]
Scheduler = Annotated[
    str | None,
    options.name(
        "--scheduler",
        help="scheduler that draws, by its name in diffusers, such as DDIMScheduler",
        default="DPM-Solver++ (2M); Euler for a flow",
    ),
]
PredictionType = Annotated[
    Literal["epsilon", "v_prediction"] | None,
    typer.Option(
        "--prediction_type",
        help="what the model predicts",
        show_default="what its files say",
    ),
]
Device = Annotated[
    str | None,
    options.name(
        "--device",
        help="where to compute, such as cpu, cuda:1 or mps",
        default="a GPU, if there is one",
    ),
]
Revision = Annotated[
    str | None, options.name("--revision", help="revision of a hub name", default="main")
]
AllowDownload = Annotated[
    bool, typer.Option("--allow_download", help="download a hub name that is not here yet")
]


@dataclass(frozen=True)
class Opening:
    """What a command line says about its base model; see `cones.models.loading.load_backbone`."""

    model: Model = "toybox"
    variant: Variant = None
    dtype: Dtype = None
    scheduler: Scheduler = None
    prediction_type: PredictionType = None
    device: Device = None
    revision: Revision = None
    allow_download: AllowDownload = False

    def backbone(
        self, precision: options.Precision = "no", gradient_checkpointing: bool = False
    ) -> "Backbone":
        """Opens it without the libraries' own progress bars, but for downloads."""
        import diffusers
        import torch
        import transformers

        from cones.models.loading import load_backbone

        for library in (diffusers, transformers):
            library.utils.logging.disable_progress_bar()
        with waiting(f"opening {self.model}"):
            return load_backbone(
                self.model,
                revision=self.revision,
                variant=self.variant,
                device=self.device,
                dtype=None if self.dtype is None else getattr(torch, self.dtype),
                amp={"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision],
                scheduler=self.scheduler,
                prediction_type=self.prediction_type,
                local_files_only=not self.allow_download,
                gradient_checkpointing=gradient_checkpointing,
            )


TOYBOX = Opening()
MODEL_OPTIONS = tuple(each.name for each in fields(Opening))


def opens_model(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command, in place of its parameter `opening`, the options of `Opening`."""
    own = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        if parameter.name != "opening":
            parameters.append(parameter)
            continue
        parameters += [
            parameter.replace(name=each.name, default=each.default, annotation=each.type)
            for each in fields(Opening)
        ]

    @wraps(command)
    def run(**given: Any) -> None:
        opening = Opening(**{each.name: given.pop(each.name) for each in fields(Opening)})
        command(**given, opening=opening)

    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run
