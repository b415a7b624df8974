"""`cones tokens`: words that are free to name subjects in a model."""

from dataclasses import replace
from typing import Annotated

from cones.cli import options
from cones.cli.console import print_json, tell
from cones.cli.opening import TOYBOX, Opening, opens_model


@opens_model
def tokens(
    num: Annotated[int, options.count("--num", help="number of words")] = 16,
    opening: Opening = TOYBOX,
    as_json: options.AsJson = False,
) -> None:
    """List rare words that are free to name subjects in a model.

    The best come first.
    """
    words = replace(opening, device=opening.device or "cpu").backbone().rare_tokens(num)
    if as_json:
        print_json(words)
        return
    for word in words:
        tell(word)
