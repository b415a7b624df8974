"""What a file that is given as a base model is, told by its header before any weight is read.

Files of weights look alike. A checkpoint is a denoiser, an autoencoder and text encoders in one,
under the names of the original implementations; a LoRA or an autoencoder alone is none.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from cones.errors import InputError
from cones.files.kinds import other_file, other_safetensors
from cones.models.diffusers_private import checkpoint_base, checkpoint_kind

DENOISER = "model.diffusion_model."
VAE = ("first_stage_model.", "vae.")
CLIP = ("cond_stage_model.", "conditioner.embedders.0.", "text_encoders.clip_l.")
# What diffusers calls the kinds of checkpoints that are served -> where the second encoder is.
SECOND = {
    "v1": CLIP,
    "v2": CLIP,
    "xl_base": ("conditioner.embedders.1.",),
    "sd3": ("text_encoders.clip_g.",),
    "sd35_medium": ("text_encoders.clip_g.",),
    "sd35_large": ("text_encoders.clip_g.",),
    "flux-dev": ("text_encoders.t5xxl.",),
    "flux-schnell": ("text_encoders.t5xxl.",),
}
T5 = ("text_encoders.t5xxl.",)

REMEDY = "give weights that are not quantised, as .safetensors"
QUANTISED = (
    r"scaled_fp8|\.(scale_weight|weight_scale|scale_input|absmax|quant_(state|map)|qweight)\b"
)
PREDICTIONS = {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon"}
ARCHITECTURES = {"stable-diffusion-v2-512": "epsilon", "stable-diffusion-v2-768-v": "v_prediction"}


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself.

    Attributes:
        shapes: of each tensor.
        dtypes: of each tensor, in safetensors' words: "F16".
        metadata: text by key.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]

    @classmethod
    def of(cls, path: Path) -> "Header":
        """Reads it.

        Raises:
            InputError: the file is no safetensors file, or is cut off.
        """
        try:
            with safe_open(path, "pt") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
                dtypes = {name: str(each.get_dtype()) for name, each in slices.items()}
                return cls(shapes, dtypes, dict(file.metadata() or {}))
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: {_fault(path)}") from error

    def has(self, prefixes: Iterable[str]) -> bool:
        """Whether a tensor's name begins with one of these."""
        return any(name.startswith(tuple(prefixes)) for name in self.shapes)

    def says(self, pattern: str) -> bool:
        """Whether a pattern is found in a tensor's name."""
        return any(re.search(pattern, name) for name in self.shapes)

    @property
    def stored(self) -> str:
        """The type of most matrices, in safetensors' words."""
        matrices = [self.dtypes[name] for name, shape in self.shapes.items() if len(shape) > 1]
        return max(sorted({*matrices}), key=matrices.count, default="F32")


def _fault(path: Path) -> str:
    """What is wrong with a file that is no sound safetensors file."""
    try:
        with path.open("rb") as file:
            return other_file(file.read(512), path.stat().st_size, REMEDY)
    except OSError as error:
        return f"cannot be read ({error.strerror}); check the path and its rights"


@dataclass(frozen=True)
class Checkpoint:
    """A whole model in one file.

    Attributes:
        path: of the file.
        kind: what diffusers calls its kind, one of `SECOND`.
        base: the hub name of the model whose configuration and tokenizer it has.
        header: of the file.
    """

    path: Path
    kind: str
    base: str
    header: Header

    @classmethod
    def of(cls, path: Path) -> "Checkpoint":
        """Tells what checkpoint a file is.

        Raises:
            InputError: it is no whole checkpoint of a kind that is served, or is quantised.
        """
        header = Header.of(path)
        _check_plain(path, header)
        shaped = {name: torch.empty(shape, device="meta") for name, shape in header.shapes.items()}
        kind = checkpoint_kind(shaped)
        _check_whole(path, kind, header)
        return cls(path, kind, checkpoint_base(shaped), header)

    @property
    def lacks_t5(self) -> bool:
        """Whether it is a Stable Diffusion 3 without its third text encoder, which may be so."""
        return self.kind.startswith("sd3") and not self.header.has(T5)

    @property
    def has_zero_snr(self) -> bool:
        """Whether its noise schedule ends in nothing but noise (zero terminal SNR)."""
        return "ztsnr" in self.header.shapes

    @property
    def prediction(self) -> str | None:
        """What the file says that its denoiser predicts; None if it says nothing.

        Raises:
            InputError: it does not say, where both are common; or it contradicts itself.
        """
        metadata = self.header.metadata
        said = {
            "v_prediction" if "v_pred" in self.header.shapes else None,
            PREDICTIONS.get(metadata.get("modelspec.prediction_type", "").lower()),
            ARCHITECTURES.get(metadata.get("modelspec.architecture", "")),
        } - {None}
        if len(said) > 1 or (not said and self.kind == "v2"):
            fault = "contradicts itself on" if said else "is a Stable Diffusion 2 and silent on"
            raise InputError(
                f"{self.path}: {fault} what it predicts; give --prediction_type: v_prediction for "
                "models of 768 pixels, epsilon for those of 512, as a rule"
            )
        return said.pop() if said else None


def _check_plain(path: Path, header: Header) -> None:
    """Refuses what holds no denoiser, and says what it is; and quantised weights."""
    if not header.has([DENOISER]):
        found = other_safetensors(header.shapes, header.metadata)
        raise InputError(
            f"{path}: is {found}; expected a base model: a checkpoint with denoiser, autoencoder "
            "and text encoder, or a diffusers folder"
        )
    if header.says(QUANTISED) or header.stored in ("U8", "I8"):
        raise InputError(
            f"{path}: its weights are quantised; expected them as float16, bfloat16 or float32"
        )


def _check_whole(path: Path, kind: str, header: Header) -> None:
    """Refuses kinds of checkpoints that are not served, and those that lack a part."""
    first = header.shapes.get(f"{DENOISER}input_blocks.0.0.weight", (0, 4))
    if kind not in SECOND or first[1] != 4 or header.says(r"^edm_(mean|vpred)"):
        raise InputError(
            f"{path}: is a checkpoint of another kind ({kind}, {first[1]} channels) than those "
            "that are served: plain text-to-image, no inpainting, depth, refining or EDM"
        )
    for part, prefixes in (
        ("autoencoder", VAE),
        ("text encoder", CLIP),
        ("second text encoder", SECOND[kind]),
    ):
        if not header.has(prefixes):
            raise InputError(
                f"{path}: holds no {part} ({prefixes[0]}*) beside its denoiser; expected a whole "
                "checkpoint; or give the model as a diffusers folder"
            )
