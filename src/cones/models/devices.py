"""Where a model computes and in what type."""

import logging

import torch

from cones.errors import InputError, is_out_of_memory

log = logging.getLogger("cones")


def accelerators() -> list[str]:
    """The kinds of accelerators that can be used here, the best first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name, is_there in there.items() if is_there]


def device_of(name: str | torch.device | None) -> torch.device:
    """The device of a name; of none the first accelerator, or else the CPU.

    Raises:
        InputError: there is none of that name here.
    """
    if name is None:
        return torch.device([*accelerators(), "cpu"][0])
    try:
        device = torch.device(name)
        usable = torch.ones(1, device=device).item() == 1  # which "meta" cannot tell
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without it
        if is_out_of_memory(error):
            raise
        usable = False
    if not usable:
        here = " or ".join(["cpu", *accelerators()])
        raise InputError(
            f"device {str(name)!r}: is not here; expected {here} (a GPU is called cuda or mps, the "
            "second one cuda:1)"
        )
    return device


def default_dtype(device: torch.device, stored: str) -> torch.dtype:
    """The type to load weights as: float32 on a CPU, else half of it.

    bfloat16 where the weights are stored so, since float16 cannot hold all of them, else float16,
    which holds the published values of most models and so keeps their fingerprint.

    Args:
        device: where they will be.
        stored: their type in the file, in safetensors' words: "BF16".
    """
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if stored == "BF16" and _has_bfloat16(device) else torch.float16


def _has_bfloat16(device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def warn_if_slow(device: torch.device, dtype: torch.dtype, amp: torch.dtype | None) -> None:
    """Warns of float16 on a CPU, which computes in it at a fraction of its speed.

    Args:
        device: where the model is.
        dtype: of its weights.
        amp: of autocast; None for none.
    """
    if device.type == "cpu" and torch.float16 in (dtype, amp):
        log.warning(
            "float16 on a CPU takes many times as long as float32; leave out --mixed_precision and "
            "--dtype, or use bfloat16"
        )
