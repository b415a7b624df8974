# Copyright the Cones authors. Licensed under the Apache License, Version 2.0; see LICENSE.
"""ComfyUI's nodes for neuron files: choose files, and shut their neurons in a model."""

import os

import folder_paths

from .shutting import shut

SUFFIX = ".cones.safetensors"
FOLDERS = ("cones", "loras")  # below ComfyUI's models

folder_paths.add_model_folder_path("cones", os.path.join(folder_paths.models_dir, "cones"))


def _names() -> list[str]:
    """The neuron files that ComfyUI sees."""
    found = {name for folder in FOLDERS for name in folder_paths.get_filename_list(folder)}
    return sorted(name for name in found if name.endswith(SUFFIX))


def _path(name: str) -> str:
    for folder in FOLDERS:
        if path := folder_paths.get_full_path(folder, name):
            return str(path)
    raise ValueError(f"{name}: is no neuron file in models/cones or models/loras")


class ChooseNeurons:
    """Chooses a neuron file; several nodes in a row make a list."""

    CATEGORY = "cones"
    FUNCTION = "choose"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("files",)

    @classmethod
    def INPUT_TYPES(cls):
        """What the node takes."""
        return {
            "required": {"file": (_names(),)},
            "optional": {"files": ("STRING", {"forceInput": True})},
        }

    def choose(self, file, files=""):
        """The list with one file more."""
        return ("\n".join(filter(None, [files, file])),)


class ShutNeurons:
    """Shuts the neurons of all files in a copy of the model."""

    CATEGORY = "cones"
    FUNCTION = "shut"
    RETURN_TYPES = ("MODEL",)
    DESCRIPTION = "Shuts concept neurons: the model draws their subjects. The base stays as it is."

    @classmethod
    def INPUT_TYPES(cls):
        """What the node takes."""
        about = {"default": -1.0, "min": -1.0, "max": 2.0, "step": 0.05}
        hint = "1 sets the weights to zero; -1 is what the files recommend"
        return {
            "required": {
                "model": ("MODEL",),
                "files": ("STRING", {"multiline": True, "tooltip": "neuron files, one a line"}),
                "strength": ("FLOAT", {**about, "tooltip": hint}),
            }
        }

    def shut(self, model, files, strength):
        """The copy of the model."""
        names = [line.strip() for line in files.splitlines() if line.strip()]
        if not names:
            return (model,)
        return (shut(model, [_path(name) for name in names], None if strength < 0 else strength),)


NODE_CLASS_MAPPINGS = {"ConesChooseNeurons": ChooseNeurons, "ConesShutNeurons": ShutNeurons}
NODE_DISPLAY_NAME_MAPPINGS = {
    "ConesChooseNeurons": "Choose concept neurons",
    "ConesShutNeurons": "Shut concept neurons",
}
