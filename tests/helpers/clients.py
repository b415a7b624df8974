"""The loaders of other programs, run as they are from a copy outside this repository.

COMFYUI_DIR, FORGE_DIR and A1111_DIR name the copies; without one its tests are skipped. Libraries
that a program imports for other kinds of models than Stable Diffusion may be missing: an empty
module takes their place while the program is imported.
"""

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

UNUSED = ("torchvision", "torchaudio", "av", "sentencepiece")


def folder(variable: str) -> Path:
    """The copy that an environment variable names; skips the test if there is none."""
    found = os.environ.get(variable, "")
    if not found:
        pytest.skip(f"{variable} does not name a copy of the program; see docs/exports.md")
    if not Path(found).is_dir():
        pytest.fail(f"{variable}: {found} is no folder")
    return Path(found)


class _Unused(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class _Finder:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.split(".")[0] in UNUSED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> ModuleType:
        return _Unused(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def importing(root: Path, *more: str) -> Iterator[None]:
    """Lets the modules of a program be imported, whatever it is started with."""
    import diffusers  # noqa: F401  (these look which libraries there are, so before the others)
    import transformers  # noqa: F401

    finder, path, arguments = _Finder(), sys.path[:], sys.argv
    sys.path[:0] = [str(root), *(str(root / each) for each in more)]
    sys.meta_path.append(finder)  # the last, so it finds only what is missing
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.path[:], sys.argv = path, arguments
        sys.meta_path.remove(finder)
        for name in [each for each, module in sys.modules.items() if type(module) is _Unused]:
            del sys.modules[name]


def comfyui() -> Any:
    """ComfyUI's package `comfy`, on the CPU."""
    with importing(folder("COMFYUI_DIR")):
        import comfy.cli_args

        comfy.cli_args.args.cpu = True
        import comfy.lora
        import comfy.model_base
        import comfy.model_detection
        import comfy.model_patcher
        import comfy.sd
        import comfy.supported_models
        import comfy.utils
        import folder_paths  # noqa: F401  (for nodes)

        return comfy


def comfyui_patcher(
    comfy: Any, unet: Any, dtype: torch.dtype = torch.float16
) -> tuple[Any, dict[str, str]]:
    """ComfyUI's model with a UNet's weights, and diffusers' names of the weights -> its own."""
    given = unet.config
    config = comfy.supported_models.SD15(unet_config(given))
    config.set_inference_dtype(dtype, None)
    model = comfy.model_base.BaseModel(config, device=torch.device("cpu"))
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    state = {names[name]: value for name, value in unet.state_dict().items() if name in names}
    model.diffusion_model.load_state_dict(state, strict=False)
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)
    return patcher, names


def unet_config(given: Any) -> dict[str, Any]:
    """A UNet's configuration in the words of the original implementation."""
    depths = given.transformer_layers_per_block
    levels = len(given.block_out_channels)
    depths = [depths] * levels if isinstance(depths, int) else list(depths)
    middle = depths[-1]
    depths = [
        depth if "CrossAttn" in kind else 0
        for depth, kind in zip(depths, given.down_block_types, strict=True)
    ]
    layers = given.layers_per_block
    return {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": given.block_out_channels[0],
        "num_res_blocks": [layers] * levels,
        "channel_mult": [n // given.block_out_channels[0] for n in given.block_out_channels],
        "transformer_depth": [depth for depth in depths for _ in range(layers)],
        "transformer_depth_output": [depth for depth in depths for _ in range(layers + 1)],
        "transformer_depth_middle": middle,
        "context_dim": given.cross_attention_dim,
        "num_heads": 4,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": given.use_linear_projection,
        "use_temporal_attention": False,
        "legacy": False,
        "adm_in_channels": None,
        "dtype": None,
    }


def weights_of(patcher: Any, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """The weights of ComfyUI's model, by diffusers' names."""
    state = patcher.model.diffusion_model.state_dict()
    return {name: state[own].clone() for name, own in names.items() if own in state}


def forge() -> Any:
    """Forge's package `backend`, on the CPU."""
    root = folder("FORGE_DIR")
    with importing(root, "packages_3rdparty"):
        import backend.args

        backend.args.args.always_cpu = True
        import backend.nn.unet
        import backend.patcher.base
        import backend.utils

        return backend


@contextmanager
def webui_extension(root: Path, name: str, loras: Path) -> Iterator[Any]:
    """The LoRA extension of a web UI, its module `networks`, without the web UI around it.

    Args:
        root: of the web UI.
        name: of the folder of the extension.
        loras: the folder where its user keeps LoRA files.

    Yields:
        The extension's `networks`.
    """
    import safetensors.torch

    before = dict(sys.modules)
    modules = ModuleType("modules")
    parts = {each: MagicMock(name=each) for each in (
        "cache", "devices", "errors", "hashes", "patches", "scripts", "sd_hijack", "sd_models",
        "shared", "textual_inversion",
    )}  # fmt: skip
    parts["shared"].cmd_opts = SimpleNamespace(lora_dir=str(loras), lyco_dir_backcompat=str(loras))
    parts["shared"].walk_files = lambda *_, **__: []
    parts["devices"].cpu = torch.device("cpu")
    parts["hashes"].sha256_from_cache = lambda *_, **__: "0" * 64
    parts["cache"].cached_data_for_file = lambda *arguments: arguments[-1]()
    parts["errors"].display = parts["errors"].report = _raise
    parts["sd_models"].read_state_dict = safetensors.torch.load_file
    parts["sd_models"].read_metadata_from_safetensors = _metadata
    vars(modules).update(parts)
    sys.modules["modules"] = modules
    sys.modules.update({f"modules.{each}": part for each, part in parts.items()})
    sys.modules["modules.textual_inversion.textual_inversion"] = MagicMock()
    try:
        with importing(root, f"extensions-builtin/{name}"):
            import networks

            yield networks
    finally:
        for each in sys.modules.keys() - before.keys():
            if each.split("_")[0].split(".")[0] in ("lora", "modules", "network", "networks"):
                del sys.modules[each]


def _raise(error: object, *_: object, **__: object) -> None:
    raise AssertionError(error)


def _metadata(path: str) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata())
