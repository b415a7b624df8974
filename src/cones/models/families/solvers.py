"""The schedulers of diffusers that pictures can be drawn with."""

from collections.abc import Mapping
from typing import Any

import diffusers

# What other programs, which read it in a picture, call each.
SAMPLERS = {
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "DPMSolverSinglestepScheduler": "DPM++ 2S",
    "DDIMScheduler": "DDIM",
    "DDPMScheduler": "DDPM",
    "DEISMultistepScheduler": "DEIS",
    "EulerDiscreteScheduler": "Euler",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "HeunDiscreteScheduler": "Heun",
    "KDPM2DiscreteScheduler": "DPM2",
    "KDPM2AncestralDiscreteScheduler": "DPM2 a",
    "PNDMScheduler": "PLMS",
    "UniPCMultistepScheduler": "UniPC",
    "LCMScheduler": "LCM",
    "TCDScheduler": "TCD",
    "FlowMatchEulerDiscreteScheduler": "Euler",
}
FLOW = tuple(name for name in SAMPLERS if name.startswith("FlowMatch"))
DIFFUSION = tuple(name for name in SAMPLERS if name not in FLOW)
DISTILLED = ("LCMScheduler", "TCDScheduler")  # of models that no other draws with

_OPTIONS: dict[str, dict[str, Any]] = {
    "DPMSolverMultistepScheduler": {"algorithm_type": "dpmsolver++", "solver_order": 2},
    "PNDMScheduler": {"skip_prk_steps": True},  # as for all latent models
}


def scheduler_of(name: str, config: Mapping[str, Any]) -> Any:
    """A new scheduler.

    Args:
        name: one of `SAMPLERS`.
        config: of the model's own scheduler.
    """
    return getattr(diffusers, name).from_config(config, **_OPTIONS.get(name, {}))
