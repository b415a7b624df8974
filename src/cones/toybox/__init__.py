"""The embedded world: a renderer, a training recipe, and a small text-to-image model.

No weights need to be downloaded to try the package, and no test needs a random model: a random
model's loss hardly moves, even when the code is wrong.
"""

from pathlib import Path

from cones.errors import InputError


def weights(part: str) -> Path:
    """The folder of the committed weights.

    Args:
        part: "pipeline" (a diffusers folder) or "clip" (toybox-clip, a transformers folder).

    Raises:
        InputError: the package was installed without them.
    """
    folder = Path(__file__).parent / "weights" / part
    if not folder.is_dir():
        raise InputError(
            f"{folder}: the toybox's weights are missing; install the package from a full clone, "
            "or train them: python -m cones.toybox.recipe --folder runs/toybox"
        )
    return folder
