"""What there is to say about neurons, as plain JSON types: for tables, reports and `--json`."""

from math import log2, prod
from typing import Any

from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.neuronfile import nbytes


def summary(neurons: ConceptNeurons) -> dict[str, Any]:
    """Describes neurons.

    Returns:
        "subjects" (token, class noun and prompt of each), "base" (name and fingerprint of the base
        model), "algorithm" ("" if it is not known), "neurons" (their number), "weights" (the number
        that they were chosen from), "density", "strength", "tuned" (whether they have values),
        "bytes" (size of the file), "bits_per_neuron" (of the whole file) and "entropy_bound" (what
        positions drawn at random at each layer's density take at least; both None without
        neurons), "layers" (of each layer "shape", "neurons" and "density").
    """
    size, count = nbytes(neurons), len(neurons)
    densities = neurons.per_layer_density()
    bits = sum(prod(neurons.shapes[layer]) * _entropy(p) for layer, p in densities.items())
    return {
        "subjects": [vars(subject) for subject in neurons.subjects],
        "base": vars(neurons.base),
        "algorithm": neurons.info.get("algorithm", ""),
        "neurons": count,
        "weights": neurons.size,
        "density": neurons.density,
        "strength": neurons.strength,
        "tuned": neurons.values is not None,
        "bytes": size,
        "bits_per_neuron": 8 * size / count if count else None,
        "entropy_bound": bits / count if count else None,
        "layers": {
            layer: {
                "shape": list(shape),
                "neurons": len(neurons.indices[layer]),
                "density": densities[layer],
            }
            for layer, shape in neurons.shapes.items()
        },
    }


def _entropy(p: float) -> float:
    """H(p) of a coin, in bits."""
    return -sum(q * log2(q) for q in (p, 1 - p) if q > 0)
