"""The report on the evidence: a table over the subjects, and a sheet of pictures."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cones.comparison.markdown import average, table_lines
from cones.evaluation import GENERAL_PROMPTS, PROMPTS, Protocol
from cones.files.writing import atomic_write
from cones.sampling.pictures import contact_sheet, png_bytes

SHEET_SUBJECTS, SHEET_PROMPTS = 3, 4  # in the sheet of pictures

Results = Mapping[str, Sequence[Mapping[str, Any]]]


def table(titles: Mapping[str, str], results: Results) -> str:
    """The table of all rows, in Markdown."""
    columns = [
        ("text alignment", "text_alignment", ".4f", True),
        ("image alignment", "image_alignment", ".4f", True),
        ("share", "share", ".2f", True),
        ("drift", "drift", ".4f", True),
        ("strength", "strength", ".2f", False),
        ("density", "density", ".1%", False),
        ("file, bytes", "bytes", ",.0f", False),
        ("finding, s", "seconds", ".1f", False),
    ]
    rows = [
        [
            title,
            *(average(results[name], key, form, error=error) for _, key, form, error in columns),
        ]
        for name, title in titles.items()
    ]
    return "\n".join(table_lines(["", *(column[0] for column in columns)], rows))


def paired(titles: Mapping[str, str], results: Results, against: str = "base") -> str:
    """What each row changes for each subject, mean and standard error, in Markdown.

    Args:
        titles: row -> what the table calls it.
        results: row -> one result a subject, the same subjects in each row.
        against: the row that the others are compared with.
    """
    rows = []
    for name, title in titles.items():
        if name == against:
            continue
        differences = [
            {key: result[key] - other[key] for key in ("text_alignment", "image_alignment")}
            for result, other in zip(results[name], results[against], strict=True)
        ]
        rows.append([title, *(average(differences, key, "+.4f") for key in differences[0])])
    return "\n".join(table_lines(["", "text alignment", "image alignment"], rows))


def machine() -> str:
    """The machine in general words."""
    gpu = "one GPU" if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), {gpu}, torch {torch.__version__}"


def sheet(
    names: Sequence[str],
    pictures: Mapping[tuple[str, str], Sequence[Image.Image]],
    subjects: Sequence[str],
) -> Image.Image:
    """Rows of the table by subjects: the first prompts of the first subjects.

    Args:
        names: of the rows.
        pictures: (row, subject) -> `SHEET_PROMPTS` pictures.
        subjects: those that are shown.
    """
    rows = [
        [picture for subject in subjects for picture in pictures[name, subject]] for name in names
    ]
    labels = [text for subject in subjects for text in [subject, *[""] * (SHEET_PROMPTS - 1)]]
    return contact_sheet(rows, names, labels, scale=1)


def write_report(
    out: Path,
    titles: Mapping[str, str],
    results: Results,
    pictures: Mapping[tuple[str, str], Sequence[Image.Image]],
    num_images: int,
    protocol: Protocol,
) -> None:
    """Write `evidence.md` and `evidence.png`.

    Args:
        out: their folder.
        titles: row -> what the table calls it, in its order.
        results: row -> one result a subject, the same subjects in each row.
        pictures: see `sheet`; of the first subjects.
        num_images: pictures of each prompt.
        protocol: how they were drawn and scored.
    """
    subjects = [result["subject"] for result in results["base"]]
    threads = sorted({result["threads"] for found in results.values() for result in found})
    prompts = "\n".join(f"- `{prompt}`" for prompt in PROMPTS)
    general = "\n".join(f"- `{prompt}`" for prompt in GENERAL_PROMPTS)
    text = f"""# Evidence

Written by `python -m benchmarks.evidence --out docs --num_images {num_images}`; do not edit.

{len(subjects)} test subjects ({", ".join(subjects)}), none of which anything was tuned on;
{len(PROMPTS)} prompts, seeds 0 to {num_images - 1} of each; protocol {protocol.name}
{protocol.version} ({protocol.steps} steps of {protocol.solver}, guidance {protocol.guidance:g});
the search has seed 0. Mean ± standard error over the subjects.

{table(titles, results)}

- *text alignment*: cosine of a picture with its prompt, the token left out, by toybox-clip.
- *image alignment*: cosine of all pairs of a picture and a photograph of the subject.
- *share*: of the way from the base model's image alignment to that of fresh renders of the subject
  in the prompted scenes. After the model's autoencoder, through which every picture of the model
  comes, these have lost details already.
- *drift*: 1 - cosine of pictures of prompts without the token, same seeds, neurons off and on.
- *strength*: 1 shuts, 2 flips the sign; searched neurons bring their own, from a line search on
  noise that the search did not see. Controls are shut.

Difference to the base model, subject by subject:

{paired(titles, results)}

![Pictures of the first subjects by row](evidence.png)

Prompts (`{{}}`: the subject, `{{other}}`: a mug, or a robot if it is a mug):

{prompts}

Prompts for the drift (`{{}}`: the class without the token):

{general}

Measured on {machine()}, {" or ".join(map(str, threads))} threads a process,
{datetime.now(UTC):%Y-%m-%d}.
"""
    atomic_write(out / "evidence.md", text.encode())
    image = sheet(list(titles), pictures, subjects[:SHEET_SUBJECTS])
    atomic_write(out / "evidence.png", png_bytes(image, {}))
