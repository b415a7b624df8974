"""Which weights are in question: the key and value projections of a denoiser's attention layers.

The only file that knows diffusers' names, and it knows them as names: diffusers is not imported.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import nn

from cones.errors import InputError

Layers: TypeAlias = Literal["text", "all"]

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_ADDED = ("add_k_proj", "add_v_proj")  # SD3, Flux: the text's own projections
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PLAIN = ("to_k", "to_v")  # UNet and PixArt: the text's in `attn2`, the image's in `attn1`


def denoiser(model: object) -> nn.Module:
    """The network that predicts the noise.

    Args:
        model: a denoiser, a diffusers pipeline, or whatever has one as `.denoiser`; compiled or
            not.

    Raises:
        InputError: there is none in `model`.
    """
    named = [getattr(model, name, None) for name in ("denoiser", "unet", "transformer")]
    for found in (named[0], model, *named[1:]):
        if isinstance(found, nn.Module):
            compiled = getattr(found, "_orig_mod", None)  # what torch.compile has wrapped
            network = compiled if isinstance(compiled, nn.Module) else found
            if isinstance(network, _PARALLEL):
                raise InputError(
                    f"{type(network).__name__}: computes with copies of the weights; give the "
                    "module in it, .module"
                )
            return network
    raise InputError(
        f"{type(model).__name__}: holds no denoiser; expected a torch module, a diffusers pipeline "
        "with a unet or a transformer, or a backbone"
    )


def model_name(model: object) -> str:
    """What to call a model in messages and files: a hub name, or a folder's name without its path.

    Args:
        model: as for `denoiser`. Its own `.name` is taken if it has one, else what it was loaded
            by, else its class.
    """
    network = denoiser(model)
    configs = [getattr(owner, "config", None) for owner in (model, network)]
    for known in (getattr(model, "name", ""), *(getattr(c, "_name_or_path", "") for c in configs)):
        if isinstance(known, str) and known:
            path = Path(known)
            if path.is_absolute():
                return path.parent.name if path.name in ("unet", "transformer") else path.name
            return known
    return type(network).__name__


def projections(model: object, which: Layers = "text") -> dict[str, nn.Parameter]:
    """The weights that concept neurons are chosen among: the paper's theta.

    Args:
        model: as for `denoiser`.
        which: "text" for the projections of the text alone: `attn2.to_k` and `attn2.to_v` where
            they are cross-attention (UNet, PixArt), `add_k_proj` and `add_v_proj` (SD3, Flux).
            "all" for those of the image as well.

    Returns:
        Name of the layer -> its weight [out, in], in the order of `named_modules`. The weights are
        the model's own parameters, no copies.

    Raises:
        InputError: there are no such layers, or their weights are not the model's plain ones: fused
            projections, a LoRA, quantised or offloaded weights.
    """
    network = denoiser(model)
    modules = dict(network.named_modules())
    weights = {}
    for name, layer in modules.items():
        parent, _, leaf = name.rpartition(".")
        attention = modules[parent]
        if _is_chosen(attention, parent.rpartition(".")[2], leaf, which):
            if _is_fused(attention):
                raise InputError(
                    f"{name}: its attention runs on fused projections, so its weight has no "
                    "effect; unfuse them (unfuse_qkv_projections) first"
                )
            weights[name] = _plain_weight(name, layer)
    if not weights:
        raise InputError(
            f"{type(network).__name__}: no key or value projection of the text found; expected "
            "attn2.to_k and attn2.to_v, or add_k_proj and add_v_proj; this kind is not served"
        )
    return weights


def shapes(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, int]]:
    """The shape (out, in) of each weight."""
    return {name: (weight.shape[0], weight.shape[1]) for name, weight in weights.items()}


def parameters(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Layer -> weight as parameter of the denoiser -> weight."""
    return {f"{layer}.weight": weight for layer, weight in weights.items()}


def layout_fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """What models of one architecture share: a hash of names and shapes, 32 hex digits."""
    return _layout(weights).hexdigest()[:32]


def fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """What tells a model from its fine-tunes: a hash of names, shapes and values, 32 hex digits.

    Values are hashed as float16, so a model that is published in float16 has one fingerprint
    whether it was loaded as float16 or as float32. Loaded as bfloat16 it has another.

    Args:
        weights: name -> weight [out, in]; their order does not matter.
    """
    digest = _layout(weights)
    for name in sorted(weights):
        values = weights[name].detach().to("cpu", torch.float16).contiguous()
        digest.update(values.numpy().data)
    return digest.hexdigest()[:32]


def checksum(weights: Mapping[str, torch.Tensor]) -> bytes:
    """What tells whether weights have changed since, in a small part of a `fingerprint`'s time.

    Sums of the bits of each row and each column: any change in place is seen, whoever made it, but
    one that was made for not being seen.

    Args:
        weights: contiguous, of any float type.
    """
    sums = []
    for weight in weights.values():
        words = bits(weight.detach())
        wide = words.shape[1] * words.element_size() % 8 == 0
        columns = words.view(torch.int64) if wide else words  # the fewer, the faster
        sums += [words.sum(1).cpu(), columns.sum(0).cpu()]
    kinds = " ".join(str(weight.dtype) for weight in weights.values())
    return kinds.encode() + torch.cat(sums).numpy().tobytes()


def bits(values: torch.Tensor) -> torch.Tensor:
    """The same memory as integers of the same size."""
    return values.view(_INTEGERS[values.element_size()])


def _layout(weights: Mapping[str, torch.Tensor]) -> "hashlib._Hash":
    lines = (f"{name} {out} {into}\n" for name, (out, into) in sorted(shapes(weights).items()))
    return hashlib.sha256("".join(lines).encode())


def _is_chosen(attention: nn.Module, attention_name: str, leaf: str, which: str) -> bool:
    if leaf in _ADDED:
        return True
    if leaf not in _PLAIN or which == "all":
        return leaf in _PLAIN
    # In some models `attn2` is a second self-attention; the module says so.
    return attention_name == "attn2" and bool(getattr(attention, "is_cross_attention", True))


def _is_fused(attention: nn.Module) -> bool:
    """Whether an attention module bypasses its separate projections.

    In diffusers' older `Attention` the flag outlives unfusing and the processor decides; the newer
    modules, which alone have `unfuse_projections`, go by the flag.
    """
    if "Fused" in type(getattr(attention, "processor", None)).__name__:
        return True
    return hasattr(attention, "unfuse_projections") and bool(
        getattr(attention, "fused_projections", False)
    )


def _plain_weight(name: str, layer: nn.Module) -> nn.Parameter:
    """The layer's weight, if it is what the layer computes with; else a refusal."""
    if hasattr(layer, "base_layer"):
        raise InputError(f"{name}: a LoRA lies over it; unload it, or fuse it and unload it, first")
    weight = layer._parameters.get("weight")
    if type(weight) is not nn.Parameter or weight.ndim != 2 or not weight.is_contiguous():
        raise InputError(
            f"{name}: expected a plain matrix as its weight, found {type(layer).__name__} with "
            f"{type(weight).__name__}; load the model without quantisation or wrappers"
        )
    if weight.is_meta:
        raise InputError(
            f"{name}: its weight is offloaded (on the meta device); load the model without "
            "sequential offloading or a device map"
        )
    if weight.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise InputError(
            f"{name}: expected a weight of float16, bfloat16 or float32, found {weight.dtype}; "
            "load the model in one of these"
        )
    return weight
