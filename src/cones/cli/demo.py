"""`cones demo`: the whole way with a sample subject."""

import json
import time
from pathlib import Path
from typing import Annotated

from cones.cli import options
from cones.cli.common import LOADING, print_json, progress, tell, waiting
from cones.cli.opening import TOYBOX


def demo(
    out: Annotated[
        Path, options.out_folder("folder of the photographs, the neurons and the pictures")
    ] = Path("demo"),
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Find a sample subject in the embedded world, and draw it in six scenes."""
    with waiting(LOADING):
        from cones.cli.demonstration import run
        from cones.neurons.neuronfile import nbytes

    backbone = TOYBOX.backbone()
    started = time.monotonic()
    with progress() as on_progress:
        made = run(out, backbone, on_progress=on_progress, overwrite=overwrite)
    report = json.loads(made.neurons.info["report"])
    before, after = (report[when]["subject"] for when in ("before", "after"))
    figures = {
        "neurons": len(made.neurons),
        "density": made.neurons.density,
        "strength": made.neurons.strength,
        "bytes": nbytes(made.neurons),
        "loss_before": before,
        "loss_after": after,
        "seconds": round(time.monotonic() - started, 1),
    }
    paths = {"photos": str(made.photos), "file": str(made.file), "sheet": str(made.sheet)}
    if as_json:
        print_json({**paths, **figures})
        return
    tell(
        f"{figures['neurons']:,} neurons shut, {made.neurons.density:.2%} of the weights in "
        f"question; {figures['bytes']:,} bytes",
        f"loss on the subject, held-out noise: {before:.5f} before, {after:.5f} after",
        f"photographs: {made.photos}",
        f"neuron file: {made.file}",
        f"look at: {made.sheet}",
        f'next: cones generate --neurons "{made.file}" --prompt "a photo of a {{}} and a dog"',
    )
