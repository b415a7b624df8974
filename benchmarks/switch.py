"""Time switching a subject on and off in a loaded model, and what a denoising step then costs.

`python -m benchmarks.switch` takes Stable Diffusion 1.5's UNet at full size with random weights,
shuts as many of its keys and values as a search finds by default, from a neuron file, many times in
a row, and sees by a hash whether the weights are what they were; `--json` prints one JSON object.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from benchmarks.stable_diffusion import FULL, LENGTH, TINY, Size, random_unet
from benchmarks.timing import clock, device, seconds_of, spread, surroundings
from cones.methods.controls import random_neurons
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.neuronfile import load, nbytes
from cones.neurons.shutting import shut
from cones.search.config import FindConfig

DENSITY = FindConfig().density
PICTURES = 2  # in a denoising step: one with the prompt, one without


def neurons_of_a_file(unet: nn.Module, density: float) -> ConceptNeurons:
    """Random neurons, written to a file and read back."""
    neurons = random_neurons(unet, SubjectInfo("sks", "robot"), density, seed=0)
    with TemporaryDirectory() as folder:
        neurons.save(Path(folder) / "robot.cones.safetensors")
        return load(Path(folder) / "robot.cones.safetensors")


def weights_hash(model: nn.Module) -> str:
    """Of every parameter's bytes."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def switch_seconds(
    unet: nn.Module, neurons: ConceptNeurons, switches: int
) -> dict[str, list[float]]:
    """Seconds of each switching "on" and "off"."""
    seconds: dict[str, list[float]] = {"on": [], "off": []}
    for _ in range(switches):
        start = clock()
        with shut(unet, neurons):
            inside = clock()
        seconds["on"].append(inside - start)
        seconds["off"].append(clock() - inside)
    return seconds


@torch.no_grad()
def step_seconds(
    unet: Any, neurons: ConceptNeurons, resolution: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of a denoising step with the neurons "shut" and as it was ("plain"), in turn."""
    noisy = torch.randn(PICTURES, 4, resolution // 8, resolution // 8, device=device())
    states = torch.randn(PICTURES, LENGTH, unet.config.cross_attention_dim, device=device())

    def step() -> None:
        unet(noisy, 500, states)

    step()  # does not count
    seconds: dict[str, list[float]] = {"plain": [], "shut": []}
    for _ in range(rounds):
        seconds["plain"].append(seconds_of(step))
        with shut(unet, neurons):
            seconds["shut"].append(seconds_of(step))
    return seconds


def measure(
    size: Size, resolution: int, switches: int, rounds: int, density: float
) -> dict[str, Any]:
    """All figures."""
    unet = random_unet(size).requires_grad_(False).eval().to(device())
    neurons = neurons_of_a_file(unet, density)
    before = weights_hash(unet)
    switching = switch_seconds(unet, neurons, switches)
    same = weights_hash(unet) == before
    steps = step_seconds(unet, neurons, resolution, rounds)
    ratios = [a / b for a, b in zip(steps["shut"], steps["plain"], strict=True)]
    return {
        "on_seconds": spread(switching["on"]),
        "off_seconds": spread(switching["off"]),
        "step_seconds": spread(steps["plain"]),
        "shut_step_over_step": spread(ratios),
        "switches": switches,
        "weights_identical": same,
        "neurons": len(neurons),
        "weights": neurons.size,
        "file_bytes": nbytes(neurons),
        "resolution": resolution,
        "rounds": rounds,
        "dtype": "float32",
        **surroundings(),
    }


def table(found: Mapping[str, Any]) -> str:
    """The figures for a person to read."""
    rows = (
        ("switching on, s", "on_seconds"),
        ("switching off, s", "off_seconds"),
        ("a denoising step, s", "step_seconds"),
        ("with neurons shut over without", "shut_step_over_step"),
    )
    lines = [f"{'':32}{'median':>9}   nine of ten"]
    for title, key in rows:
        each = found[key]
        lines.append(f"{title:32}{each['median']:9.4f}   {each['low']:.4f} to {each['high']:.4f}")
    state = "the same bytes" if found["weights_identical"] else "CHANGED"
    lines.append(
        f"{found['neurons']:,} of {found['weights']:,} weights, a file of {found['file_bytes']:,} "
        f"bytes; after {found['switches']} switches the weights are {state}"
    )
    lines.append(
        f"steps of {found['resolution']} pixels, {found['dtype']}; {found['rounds']} rounds; "
        f"{found['machine']}, {found['threads']} threads"
    )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switch", description=__doc__)
    parser.add_argument("--resolution", type=int, default=256, help="of the pictures, n * 64")
    parser.add_argument("--switches", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15, help="of denoising steps")
    parser.add_argument("--density", type=float, default=DENSITY, help="share of weights to shut")
    parser.add_argument("--tiny", action="store_true", help="a small model, to try this program")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of a table")
    args = parser.parse_args()
    found = measure(
        TINY if args.tiny else FULL, args.resolution, args.switches, args.rounds, args.density
    )
    print(json.dumps(found) if args.json else table(found))


if __name__ == "__main__":
    main()
