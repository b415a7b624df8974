"""The training pictures of the toybox: rendered once, kept as one memory-mapped array.

Picture k of a set follows from `(seed, k)` alone, so scenes need not be stored: they are drawn
again when their captions are wanted.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from cones.toybox.names import sample_things
from cones.toybox.render import render
from cones.toybox.world import SIZE, Scene, sample_scene

CHUNK = 500


def scene_at(seed: int, index: int) -> Scene:
    """The scene of picture `index` of the set with this seed."""
    rng = np.random.default_rng([seed, index])
    return sample_scene(rng, sample_things(rng))


def _render_chunk(start: int, seed: int, stop: int) -> np.ndarray:
    indices = range(start, min(start + CHUNK, stop))
    return np.stack([np.asarray(render(scene_at(seed, k)).image) for k in indices])


def pictures(folder: Path, seed: int, count: int, workers: int = 2) -> np.ndarray:
    """Renders the set if it is not there yet.

    Returns:
        uint8 `[count, SIZE, SIZE, 3]`, memory-mapped.
    """
    path = folder / f"pictures-{seed}-{count}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(".partial.npy")
        shape = (count, SIZE, SIZE, 3)
        out = np.lib.format.open_memmap(partial_path, mode="w+", dtype=np.uint8, shape=shape)
        starts = range(0, count, CHUNK)
        work = partial(_render_chunk, seed=seed, stop=count)
        with ProcessPoolExecutor(workers) as pool:
            for start, chunk in zip(starts, pool.map(work, starts), strict=True):
                out[start : start + len(chunk)] = chunk
        out.flush()
        partial_path.rename(path)
    array: np.ndarray = np.load(path, mmap_mode="r")
    return array
