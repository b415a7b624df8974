"""A diffusers folder that is given as a base model: whether it is whole, and which files to read.

A component's weights may lie there several times: as plain files, as those of a variant
(`model.fp16.safetensors`), and as pickles (`.bin`), which are never read.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cones.errors import InputError
from cones.models.checkpoints import Header

INDEX = "model_index.json"
UNREAD = ("safety_checker", "feature_extractor")  # of a second model, which is left out
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_SHARD = r"-\d{5}-of-\d{5}"
_WEIGHTS = re.compile(rf"[\w-]*?model(?:{_SHARD})?(?:\.([\w-]+?))?(?:{_SHARD})?\.safetensors")

Files = Mapping[str | None, list[Path]]  # by variant; None for the plain ones


@dataclass(frozen=True)
class ModelFolder:
    """A folder in diffusers' layout.

    Attributes:
        path: of the folder.
        index: what its `model_index.json` says.
        files: of each component with weights.
    """

    path: Path
    index: Mapping[str, Any]
    files: Mapping[str, Files]

    @classmethod
    def of(cls, path: Path) -> "ModelFolder":
        """Lists a folder.

        Raises:
            InputError: it is no diffusers folder, or a component or its weights are missing.
        """
        index = _read_index(path)
        files = {}
        for part, kind in index.items():
            if part in UNREAD or not isinstance(kind, list) or kind[0] is None:
                continue
            if not (path / part).is_dir():
                raise InputError(f"{path}: lacks its {part}; download or copy it again, whole")
            if (path / part / "config.json").is_file():
                files[part] = _files(path / part)
        return cls(path, index, files)

    def variant(self, asked: str | None) -> str | None:
        """Whose files are to be read: the variant asked for, or else the plain ones.

        Where a component has no plain ones it is the only variant that there is.

        Raises:
            InputError: there is no such variant, or several would do.
        """
        known = sorted({each for files in self.files.values() for each in files if each})
        if asked is not None and asked not in known:
            raise InputError(
                f"{self.path}: has no variant {asked!r}; expected "
                f"{' or '.join(known) or 'none, there are only plain files'}"
            )
        lacking = [{*files} for files in self.files.values() if None not in files]
        if asked is not None or not lacking:
            return asked
        common = sorted(each for each in set.intersection(*lacking) if each)
        if len(common) != 1:
            raise InputError(
                f"{self.path}: has no plain files, only variants; choose one by --variant: "
                f"{' or '.join(known)}"
            )
        return common[0]

    def headers(self, variant: str | None) -> dict[str, list[Header]]:
        """The header of every file that will be read, by component.

        Raises:
            InputError: a file is damaged, a pointer of Git LFS, or quantised.
        """
        found = {}
        for part, files in self.files.items():
            paths = files.get(variant) or files.get(None, [])
            found[part] = [Header.of(path) for path in paths]
            if any(header.stored in ("U8", "I8") for header in found[part]):
                raise InputError(
                    f"{self.path / part}: its weights are quantised; expected them as float16, "
                    "bfloat16 or float32"
                )
        return found


def check_complete(place: Path, headers: Sequence[Header], module: nn.Module) -> None:
    """Refuses a model of transformers some of whose weights are in no file: they would be random.

    Args:
        place: of the component.
        headers: of its files; names there may have more or fewer prefixes than in the module.
        module: as it was opened.

    Raises:
        InputError: a weight is in no file.
    """
    names = {name for header in headers for name in header.shapes}
    endings = {ending for name in names for ending in _endings(name)}
    tied: dict[int, list[str]] = {}
    for name, weight in module.named_parameters(remove_duplicate=False):
        tied.setdefault(id(weight), []).append(name)
    for same in tied.values():
        if not any(name in endings or not names.isdisjoint(_endings(name)) for name in same):
            raise InputError(
                f"{place}: lacks the weight {same[0]}; download or copy the model again, whole"
            )


def _endings(name: str) -> list[str]:
    """The name, and what is left of it without its first parts."""
    parts = name.split(".")
    return [".".join(parts[k:]) for k in range(len(parts))]


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    if not path.is_file():
        raise InputError(
            f"{folder}: {_what_else(folder)}; expected a diffusers folder, with a {INDEX}"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        index = None
    if not isinstance(index, dict):
        raise InputError(f"{path}: expected a JSON object; download or copy it again")
    return index


def _what_else(folder: Path) -> str:
    """What a folder is that is no diffusers folder."""
    names = sorted(path.name for path in folder.iterdir())
    if "adapter_config.json" in names or any("lora" in name.lower() for name in names):
        return "holds a LoRA, to be fused into its base model"
    if "config.json" in names:
        return "holds one component of a model, or a model of another kind"
    if found := [name for name in names if name.endswith((".safetensors", *PICKLES))]:
        return f"holds files of weights such as {found[0]}; name one if it is a checkpoint"
    return f"holds no {INDEX}"


def _files(folder: Path) -> Files:
    """A component's files of weights."""
    files: dict[str | None, list[Path]] = {}
    paths = sorted(folder.iterdir())
    for path in paths:
        if match := _WEIGHTS.fullmatch(path.name):
            files.setdefault(match[1], []).append(path)
    if files:
        return files
    if pickles := [path.name for path in paths if path.suffix in PICKLES]:
        raise InputError(
            f"{folder}: holds only pickles ({pickles[0]}), which could run code; convert them to "
            ".safetensors where you trust them: open the model with diffusers, then save_pretrained"
        )
    raise InputError(f"{folder}: holds no weights; download or copy the model again, whole")
