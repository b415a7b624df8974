"""What is said about neurons is true of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons, SubjectInfo
from cones.neurons.summary import summary

SHAPES = {"a.to_k": (4, 4), "b.to_v": (2, 8)}


def test_a_summary_says_what_is_in_the_neurons(tmp_path: Path) -> None:
    neurons = ConceptNeurons(
        SHAPES,
        {"a.to_k": np.arange(8), "b.to_v": np.array([3])},
        subjects=(SubjectInfo("sks", "robot", "a sks robot"),),
        strength=1.5,
        base=BaseInfo("tiny", "0123" * 8),
        info={"algorithm": "paper"},
    )
    neurons.save(tmp_path / "file")
    size = (tmp_path / "file").stat().st_size
    about = summary(neurons)
    entropy_of_one_in_16 = -(np.log2(1 / 16) / 16 + np.log2(15 / 16) * 15 / 16)
    assert about.pop("entropy_bound") == pytest.approx((16 + 16 * entropy_of_one_in_16) / 9)
    assert about == {
        "subjects": [{"token": "sks", "class_noun": "robot", "prompt": "a sks robot"}],
        "base": {"name": "tiny", "fingerprint": "0123" * 8},
        "algorithm": "paper",
        "neurons": 9,
        "weights": 32,
        "density": 9 / 32,
        "strength": 1.5,
        "tuned": False,
        "bytes": size,
        "bits_per_neuron": 8 * size / 9,
        "layers": {
            "a.to_k": {"shape": [4, 4], "neurons": 8, "density": 0.5},
            "b.to_v": {"shape": [2, 8], "neurons": 1, "density": 1 / 16},
        },
    }
    json.dumps(about)


@pytest.mark.parametrize("share", [0, 1])
def test_of_nothing_and_of_everything_there_is_nothing_to_tell(share: int) -> None:
    everything = {name: np.arange(16 * share) for name in SHAPES}
    about = summary(ConceptNeurons(SHAPES, everything))
    assert about["entropy_bound"] == (0 if share else None)
    assert (about["bits_per_neuron"] is None) == (share == 0)
