"""What neuron files and artifacts say of where they come from, as metadata of a container."""

import json
import re
from collections.abc import Mapping
from typing import Any

from cones.errors import InputError
from cones.files.strict_json import parse_json
from cones.neurons.concept_neurons import BaseInfo, SubjectInfo

Origin = tuple[tuple[SubjectInfo, ...], BaseInfo, Mapping[str, str]]

KEYS = ("base_model", "base_fingerprint", "subjects", "info")
_FINGERPRINT = re.compile("([0-9a-f]{32})?")


def to_metadata(origin: Origin) -> dict[str, str]:
    """`KEYS`: the subjects, the base model and the further information as texts.

    Raises:
        InputError: The fingerprint of the base model is none.
    """
    subjects, base, info = origin
    if not _FINGERPRINT.fullmatch(base.fingerprint):
        raise InputError(
            f"base_fingerprint: expected 32 hex digits or nothing, found {base.fingerprint!r}; "
            "take it from cones.neurons.projections.fingerprint"
        )
    return {
        "base_model": base.name,
        "base_fingerprint": base.fingerprint,
        "subjects": _json([vars(subject) for subject in subjects]),
        "info": _json(dict(info)),
    }


def from_metadata(metadata: Mapping[str, str]) -> Origin:
    """What `to_metadata` was given.

    Raises:
        InputError: the metadata are not what it gives.
    """
    if missing := [key for key in KEYS if key not in metadata]:
        raise InputError(f"its metadata are incomplete: {missing[0]} is missing")
    given, info = _value(metadata, "subjects"), _value(metadata, "info")
    if not isinstance(given, list) or not isinstance(info, dict):
        raise InputError("expected a list of subjects and an object of info in its metadata")
    subjects = tuple(map(_subject, given))
    base = BaseInfo(metadata["base_model"], metadata["base_fingerprint"])
    for key, text in to_metadata((subjects, base, info)).items():
        if metadata[key] != text:
            raise InputError(f"{key}: expected JSON without spaces, sorted: {text}")
    return subjects, base, info


def _value(metadata: Mapping[str, str], key: str) -> Any:
    try:
        return parse_json(metadata[key])
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def _subject(value: Any) -> SubjectInfo:
    if not isinstance(value, dict) or value.keys() != {"class_noun", "prompt", "token"}:
        raise InputError("subjects: expected class_noun, prompt and token of each")
    return SubjectInfo(**value)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
