"""How a neuron file was made, as options of the command that makes it again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cones.cli.find import idle_settings
from cones.errors import InputError
from cones.files.strict_json import parse_json
from cones.neurons.concept_neurons import ConceptNeurons

IDENTITY = "identity"  # in a file's info: all that it depends on
AUTOCAST = {"torch.bfloat16": "bf16", "torch.float16": "fp16"}


@dataclass(frozen=True)
class Recipe:
    """What makes a neuron file again.

    Attributes:
        settings: options by their names, for `--config`.
        remarks: lines about what else is needed.
    """

    settings: Mapping[str, Any]
    remarks: tuple[str, ...]


def recipe_of(neurons: ConceptNeurons, path: Path) -> Recipe:
    """Read the recipe from what the file of some neurons says.

    Raises:
        InputError: it does not say enough.
    """
    own = _object(neurons.info.get(IDENTITY, "{}"))
    config = _object(neurons.info.get("config", "{}"))
    command = "tune" if own.get("method") == "tune" else "find"
    if not config or not neurons.subjects or own.get("method") == "combine":
        raise InputError(
            f"{path}: does not say how it was found; name a file that `cones find` or `cones tune` "
            "has written"
        )
    if command == "find":
        idle = idle_settings(config.get("algorithm"))
        settings = {
            "class_noun": own.get("class noun", [each.class_noun for each in neurons.subjects]),
            "token": own.get("token", [each.token for each in neurons.subjects]),
            **{name: value for name, value in config.items() if name not in idle},
        }
    else:
        settings = config
    settings |= _model(neurons, own)
    return Recipe(settings, (*_remarks(neurons, own, command),))


def _model(neurons: ConceptNeurons, own: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the base model that are known; those that are its own are left out."""
    found = {"model": neurons.base.name} if neurons.base.name == "toybox" else {}
    if "dtype" in own:
        found["dtype"] = own["dtype"].removeprefix("torch.")
    if own.get("autocast") in AUTOCAST:
        found["mixed_precision"] = AUTOCAST[own["autocast"]]
    if own.get("scheduler", "default") != "default":
        found["scheduler"] = own["scheduler"]
    if own.get("prediction type") in ("epsilon", "v_prediction"):
        found["prediction_type"] = own["prediction type"]
    return found


def _remarks(neurons: ConceptNeurons, own: Mapping[str, Any], command: str) -> list[str]:
    phrases = ", ".join(f"{each.token} {each.class_noun}" for each in neurons.subjects)
    files = " FILE" if command == "tune" else ""
    lines = [f"cones {command}{files} --config THIS --images PHOTOGRAPHS, for each of {phrases}"]
    if neurons.base.name != "toybox":
        name = json.dumps(neurons.base.name or "unknown")
        lines.append(f"with --model: its name was {name}, {neurons.base.fingerprint}")
    if own.get("start") and command == "find":
        lines.append("with --start: the search began with neurons")
    if any(each != "drawn" for each in own.get("class images", ())):
        lines.append("with --class_data_dir: images of the class were given")
    if own.get("processes", 1) != 1:
        lines.append(f"by {own['processes']} processes: accelerate launch -m cones")
    if versions := neurons.info.get("versions"):
        lines.append(f"made by {versions}")
    return lines


def _object(text: str) -> dict[str, Any]:
    """A JSON object of a file's info; empty where there is none."""
    try:
        found = parse_json(text)
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}
