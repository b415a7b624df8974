"""The base model of a command: its options, the same in all commands, and how they open it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

from cones.cli import options
from cones.cli.common import waiting

if TYPE_CHECKING:
    from cones.models.backbone import Backbone


@dataclass(frozen=True)
class Opening:
    """What a command line says about its base model; see `cones.models.loading.load_backbone`."""

    model: options.Model = "toybox"
    variant: options.Variant = None
    dtype: options.Dtype = None
    scheduler: options.Scheduler = None
    prediction_type: options.PredictionType = None
    device: options.Device = None
    revision: options.Revision = None
    allow_download: options.AllowDownload = False

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
