"""The report on the evidence: a table over the subjects, and a sheet of pictures."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from cones.evaluation import GENERAL_PROMPTS, PROMPTS, Protocol
from cones.evaluation.metrics import mean_and_se
from cones.files.writing import atomic_path, atomic_write

SHEET_SUBJECTS, SHEET_PROMPTS, LABEL, GAP = 3, 4, 150, 8

Cells = Mapping[str, Sequence[Mapping[str, Any]]]


def column(cells: Sequence[Mapping[str, Any]], key: str, form: str, scale: float = 1) -> str:
    """Mean and standard error over the subjects, or a dash where there is nothing to say."""
    values = [cell[key] * scale for cell in cells if cell[key] is not None]
    if not values:
        return "-"
    mean, error = mean_and_se(values)
    return f"{mean:{form}}" + ("" if error is None else f" ± {error:{form.lstrip('+')}}")


def plain(cells: Sequence[Mapping[str, Any]], key: str, form: str, scale: float = 1) -> str:
    """The mean over the subjects alone."""
    return column(cells, key, form, scale).partition(" ")[0]


def table(titles: Mapping[str, str], cells: Cells) -> str:
    """The table of all rows, in Markdown."""
    lines = [
        "| | text alignment | image alignment | share | drift | strength | density | file, bytes "
        "| finding, s |",
        "|---|" + "---:|" * 8,
    ]
    for name, title in titles.items():
        found = cells[name]
        columns = (
            title,
            column(found, "text_alignment", ".4f"),
            column(found, "image_alignment", ".4f"),
            column(found, "share", ".2f"),
            column(found, "drift", ".4f"),
            plain(found, "strength", ".2f"),
            plain(found, "density", ".1%"),
            plain(found, "bytes", ",.0f"),
            plain(found, "seconds", ".1f"),
        )
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines)


def paired(titles: Mapping[str, str], cells: Cells, against: str = "base") -> str:
    """What each row changes for each subject, mean and standard error, in Markdown."""
    lines = ["| | text alignment | image alignment |", "|---|---:|---:|"]
    for name, title in titles.items():
        if name == against:
            continue
        differences = [
            {key: cell[key] - other[key] for key in ("text_alignment", "image_alignment")}
            for cell, other in zip(cells[name], cells[against], strict=True)
        ]
        columns = [column(differences, key, "+.4f") for key in differences[0]]
        lines.append("| " + " | ".join([title, *columns]) + " |")
    return "\n".join(lines)


def machine() -> str:
    """The machine in general words."""
    gpu = "one GPU" if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), {gpu}, torch {torch.__version__}"


def sheet(
    titles: Mapping[str, str], strips: Mapping[tuple[str, str], Path], subjects: Sequence[str]
) -> Image.Image:
    """Rows of the table by subjects, the first seed of the first prompts each."""
    shown = subjects[:SHEET_SUBJECTS]
    with Image.open(next(iter(strips.values()))) as one:
        side = one.height
    width = LABEL + len(shown) * (SHEET_PROMPTS * side + GAP)
    image = Image.new("RGB", (width, 20 + len(titles) * (side + 2)), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for k, subject in enumerate(shown):
        left = LABEL + k * (SHEET_PROMPTS * side + GAP)
        draw.text((left, 3), subject, fill="black", font=font)
        for row, name in enumerate(titles):
            with Image.open(strips[name, subject]) as strip:
                image.paste(
                    strip.crop((0, 0, SHEET_PROMPTS * side, side)), (left, 20 + row * (side + 2))
                )
    for row, name in enumerate(titles):
        draw.text((4, 20 + row * (side + 2) + side // 2 - 8), name, fill="black", font=font)
    return image


def write_report(
    out: Path,
    titles: Mapping[str, str],
    cells: Cells,
    strips: Mapping[tuple[str, str], Path],
    num_images: int,
    protocol: Protocol,
) -> None:
    """Writes `evidence.md` and `evidence.png`.

    Args:
        out: their folder.
        titles: row -> what the table calls it, in its order.
        cells: row -> one cell a subject, the same subjects in each row.
        strips: (row, subject) -> a picture of that cell's first pictures side by side.
        num_images: pictures of each prompt.
        protocol: how they were drawn and scored.
    """
    subjects = [cell["subject"] for cell in cells["base"]]
    threads = sorted({cell["threads"] for found in cells.values() for cell in found})
    prompts = "\n".join(f"- `{prompt}`" for prompt in PROMPTS)
    general = "\n".join(f"- `{prompt}`" for prompt in GENERAL_PROMPTS)
    text = f"""# Evidence

Written by `python -m benchmarks.evidence --out docs --num_images {num_images}`; do not edit.

{len(subjects)} test subjects ({", ".join(subjects)}), none of which anything was tuned on;
{len(PROMPTS)} prompts, seeds 0 to {num_images - 1} of each; protocol {protocol.name}
{protocol.version} ({protocol.steps} steps of {protocol.solver}, guidance {protocol.guidance:g});
the search has seed 0. Mean ± standard error over the subjects.

{table(titles, cells)}

- *text alignment*: cosine of a picture with its prompt, the token left out, by toybox-clip.
- *image alignment*: cosine of all pairs of a picture and a photograph of the subject.
- *share*: of the way from the base model's image alignment to that of fresh renders of the subject
  in the prompted scenes. After the model's autoencoder, through which every picture of the model
  comes, these have lost details already.
- *drift*: 1 - cosine of pictures of prompts without the token, same seeds, neurons off and on.
- *strength*: 1 shuts, 2 flips the sign; searched neurons bring their own, from a line search on
  noise that the search did not see. Controls are shut.

Difference to the base model, subject by subject:

{paired(titles, cells)}

![Pictures of the first subjects by row](evidence.png)

Prompts (`{{}}`: the subject, `{{other}}`: a mug, or a robot if it is a mug):

{prompts}

Prompts for the drift (`{{}}`: the class without the token):

{general}

Measured on {machine()}, {" or ".join(map(str, threads))} threads a process,
{datetime.now(UTC):%Y-%m-%d}.
"""
    atomic_write(out / "evidence.md", text.encode())
    with atomic_path(out / "evidence.png") as temporary:
        sheet(titles, strips, subjects).save(temporary)
