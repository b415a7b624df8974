"""Kills commands with SIGKILL at random moments, and looks at what they leave.

`python -m benchmarks.kills --model FOLDER --kills 100` searches, draws and unites in one folder,
best with a tiny model. After each kill every file there must be whole. At the end each command
runs once to its end, and then no `.tmp-*` file may be left. The commands are forks of one process,
so that most of their time is their work and not Python's start.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from safetensors.numpy import load as read_tensors

from cones.cli import program as cli
from cones.neurons.neuronfile import load
from cones.search import prior

TOKENS = {"robot": "sks", "mug": "ohwx"}
SEARCH = ("--steps", "12", "--batch", "1", "--checkpointing_steps", "1")
RESUME = ("--resume_from_checkpoint", "latest")
DRAW = ("--prompt", "a mug", "--num_images", "20", "--steps", "1", "--batch", "1")


def find(folder: Path, model: Path, noun: str, out: Path, *options: str) -> list[str]:
    subject = ("--images", folder / noun, "--class_noun", noun, "--token", TOKENS[noun])
    return [*map(str, ("find", *subject, "--model", model, "--out", out, *options))]


def commands(folder: Path, model: Path) -> list[list[str]]:
    """What is killed."""
    ready = [folder / f"ready-{noun}.cones.safetensors" for noun in TOKENS]
    searches = [
        find(folder, model, noun, folder / f"{noun}.cones.safetensors", *SEARCH, *RESUME)
        for noun in TOKENS
    ]
    draw = ["generate", *DRAW, "--model", str(model), "--out", str(folder / "drawn")]
    unite = ["combine", *map(str, ready), "--out", str(folder / "both.cones.safetensors")]
    return [*searches, draw, unite]


def prepare(folder: Path, model: Path) -> None:
    """Photographs of two subjects, and a neuron file of each to unite."""
    for seed, noun in enumerate(TOKENS):
        (folder / noun).mkdir(parents=True)
        pixels = np.random.default_rng(seed).integers(0, 255, (3, 16, 16, 3), np.uint8)
        for number, each in enumerate(pixels):
            Image.fromarray(each).save(folder / noun / f"{number}.png")
        ready = folder / f"ready-{noun}.cones.safetensors"
        finish(find(folder, model, noun, ready, "--steps", "1", "--batch", "1"))


def start(command: Sequence[str]) -> int:
    """Begins a command in a process of its own, whose id it returns."""
    if process := os.fork():
        return process
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        sys.argv[1:] = command
        cli.main()
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 0)
    finally:
        os._exit(70)  # a traceback


def finish(command: Sequence[str]) -> None:
    """Runs a command to its end."""
    _, status = os.waitpid(start(command), 0)
    if status:
        raise SystemExit(f"cones {' '.join(command)}: ended with {status}")


def kill(command: Sequence[str], folder: Path, wait: float) -> bool:
    """Kills a command `wait` seconds after its first temporary file; False if it had ended."""
    before = set(folder.rglob(".tmp-*"))
    process = start(command)
    ended = 0
    while not ended and not set(folder.rglob(".tmp-*")) - before:
        time.sleep(0.002)
        ended, _ = os.waitpid(process, os.WNOHANG)
    if not ended:
        time.sleep(wait)
        ended, _ = os.waitpid(process, os.WNOHANG)
    if not ended:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return not ended


def damaged(folder: Path) -> list[str]:
    """What is wrong with the files of a folder, one line each."""
    wrong = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".tmp-") or not path.is_file():
            continue
        try:
            if path.name.endswith(".cones.safetensors"):
                load(path)
            elif path.suffix == ".safetensors":
                read_tensors(path.read_bytes())
            else:
                with Image.open(path) as image:
                    image.load()
        except Exception as error:
            wrong.append(f"{path.relative_to(folder)}: {error}")
    return wrong


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a folder; best a tiny model's")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--longest", type=float, default=1.0, help="seconds until a kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args(arguments)
    prior.STEPS = 1  # of the solver, for the pictures of the class
    rng, killed, most = random.Random(args.seed), 0, 0
    with TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, args.model)
        todo = commands(folder, args.model)
        while killed < args.kills:
            command = rng.choice(todo)
            longest = args.longest if command[0] != "combine" else 0.02
            killed += kill(command, folder, rng.uniform(0, longest))
            most = max(most, len(list(folder.rglob(".tmp-*"))))
            if wrong := damaged(folder):
                raise SystemExit(f"after {killed} kills: {'; '.join(wrong)}")
        for command in todo:
            finish(command)
        wrong = [f"{path.name}: was left" for path in folder.rglob(".tmp-*")] + damaged(folder)
        if wrong:
            raise SystemExit("; ".join(wrong))
        pictures = len(list((folder / "drawn").glob("*-seed*.png")))
    print(
        f"{killed} kills: nothing damaged, {pictures} pictures drawn; up to {most} temporary "
        "files, of which the next commands left none"
    )


if __name__ == "__main__":
    main()
