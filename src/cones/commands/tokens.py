"""`cones tokens`: words that are free to name subjects in a model."""

from typing import Annotated

import typer

from cones.commands import options
from cones.commands.common import open_backbone, print_json


def tokens(
    model: options.Model = "toybox",
    num: Annotated[int, typer.Option("--num", min=1, help="words at most")] = 16,
    revision: options.Revision = None,
    allow_download: options.AllowDownload = False,
    as_json: options.AsJson = False,
) -> None:
    """List rare words that are free to name subjects in a model, best first."""
    words = open_backbone(model, revision, "cpu", allow_download).rare_tokens(num)
    if as_json:
        print_json(words)
        return
    for word in words:
        typer.echo(word)
