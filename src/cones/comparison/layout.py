"""The table of a comparison for people: in Markdown, and pictures side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from cones.comparison.entries import CONTESTANTS
from cones.comparison.runner import Comparison, Task
from cones.comparison.store import Cell, pictures_of
from cones.models.images import square
from cones.sampling.pictures import contact_sheet

Row = dict[str, Any]

RENDERS = "renders"  # what rows of fresh renders have for a method
CEILING = (
    "- *fresh renders*: of the subjects together, as the prompts ask for them; what the scores are "
    "worth at best."
)
SHOWN = 6  # prompts in the figure
# Measure -> its title, how its figures are written, and which is the best of them.
COLUMNS = {
    "text_alignment": ("text alignment", ".4f", max),
    "image_alignment": ("image alignment", ".4f", max),
    "dino_alignment": ("image alignment (DINO)", ".4f", max),
    "presence": ("presence", ".3f", max),
    "drift": ("drift", "z.4f", min),
    "bytes": ("bytes", ",.0f", min),
    "seconds": ("fitting, s", ",.0f", min),
}


def markdown(table: Mapping[str, Any], model: str, written_by: str, figure: bool = False) -> str:
    """The table for people.

    Args:
        table: as in `table.json`.
        model: the base model's name.
        written_by: the command line.
        figure: whether there is one beside it.
    """
    protocol, listed = table["protocol"], [*table["cells"], *table["ceiling"]]
    lines = ["# Cones and its rivals", "", f"Last written by `{written_by}`; do not edit.", ""]
    for size in sorted({row["subjects"] for row in listed}):
        lines += [f"## {size} subject{'s' * (size > 1)}", ""]
        lines += [*_block([row for row in listed if row["subjects"] == size]), ""]
    if figure:
        lines += ["![The first group of each block, a row a method](table.png)", ""]
    methods = list(dict.fromkeys(row["method"] for row in table["cells"]))
    lines += [
        "Mean ± standard error over the groups; bold: the best of a column in a whole block.",
        "",
        f"- *Protocol*: {protocol['name']} {protocol['version']}; {protocol['steps']} steps of "
        f"{protocol['solver']}, guidance {protocol['guidance']:g}; {len(protocol['prompts'])} "
        f"prompts, seeds {protocol['seeds'][0]} to {protocol['seeds'][-1]} of each.",
        f"- *Model*: {model}, weights {table['model']['weights']}, "
        f"{table['model']['precision']}.",
        f"- *Groups*: of {len(table['subjects'])} subjects ({', '.join(table['subjects'])}), each "
        "in as many of a block as any other, or one more; a subject has one token throughout.",
        "- *text alignment*: cosine of a picture with its prompt, the tokens left out. *image "
        "alignment*: of a picture with the photographs of each subject, the mean over subjects. "
        "*presence*: how many of the subjects' classes are among the n likeliest kinds of things "
        "in a picture whose prompt names n. *drift*: 1 - cosine of pictures of prompts without "
        "the tokens, same seeds, with the artifact and without. *bytes*: of its file. *fitting*: "
        "without the drawing of images of the class.",
        *(f"- *{CONTESTANTS[name].title}*: {CONTESTANTS[name].how}." for name in methods),
        *([CEILING] if table["ceiling"] else []),
        "- *Prompts*: " + "; ".join(f"`{prompt}`" for prompt in protocol["prompts"]) + ".",
        "- *Prompts for the drift*: "
        + "; ".join(f"`{prompt}`" for prompt in protocol["general_prompts"]) + ".",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def command(comparison: Comparison) -> str:
    """The command line without what is of one machine."""
    config = comparison.config
    options = {
        "--protocol": [comparison.protocol.name],
        "--methods": config.methods,
        "--blocks": config.blocks,
        "--groups": [config.groups],
        "--num_images": [config.num_images],
    }
    return " ".join(
        ["cones compare", *(f"{k} {' '.join(map(str, v))}" for k, v in options.items())]
    )


def _block(listed: Sequence[Row]) -> list[str]:
    """The lines of one block's table."""
    methods = [row for row in listed if row["method"] != RENDERS]
    columns = [key for key in COLUMNS if any(key in row for row in methods)]
    titles = ["method", *(COLUMNS[key][0] for key in columns), "groups"]
    best = {}
    whole = all(row["groups"] + row["diverged"] == row["planned"] for row in methods)
    for key in columns if whole else ():
        values = [row[key] for row in methods if row.get(key) is not None]
        best[key] = COLUMNS[key][2](values) if values else None
    return [
        f"| {' | '.join(titles)} |",
        "|---|" + "---:|" * (len(titles) - 1),
        *(_line(row, columns, best if row in methods else {}) for row in listed),
    ]


def _line(row: Row, columns: Sequence[str], best: Mapping[str, float | None]) -> str:
    title = "*fresh renders*"
    if row["method"] != RENDERS:
        title = CONTESTANTS[row["method"]].title
    shown = [
        _figures(row.get(key), row.get(f"{key}_se"), COLUMNS[key][1], best.get(key))
        for key in columns
    ]
    diverged = f", {row['diverged']} diverged" if row["diverged"] else ""
    groups = f"{row['groups']} of {row['planned']} groups{diverged}"
    return "| " + " | ".join([title, *shown, groups]) + " |"


def _figures(mean: float | None, error: float | None, form: str, best: float | None) -> str:
    if mean is None:
        return "-"
    text = f"{mean:{form}}"
    if best is not None and text == f"{best:{form}}":
        text = f"**{text}**"
    return text if error is None else f"{text} ± {error:{form}}"


def picture(comparison: Comparison, done: Sequence[tuple[Task, Cell]]) -> Image.Image | None:
    """The first group of each block: photographs, then a row a method; None without a picture."""
    sheets = []
    for size in comparison.planned:
        shown = [
            task for task, cell in done
            if len(task.group) == size and task.number == 0 and "diverged" not in cell
        ]  # fmt: skip
        if shown:
            sheets.append(_sheet(shown, comparison.config.prompts))
    if not sheets:
        return None
    width, height = max(each.width for each in sheets), sum(each.height for each in sheets)
    figure, top = Image.new("RGB", (width, height), "white"), 0
    for sheet in sheets:
        figure.paste(sheet, (0, top))
        top += sheet.height
    return figure


def _sheet(tasks: Sequence[Task], prompts: Sequence[str]) -> Image.Image:
    """One block; each cell's pictures are one of each prompt side by side."""
    columns = prompts[:SHOWN]
    lines, labels = [], []
    for task in tasks:
        with Image.open(pictures_of(task.path)) as strip:
            width = strip.width // len(prompts)
            boxes = [(k * width, 0, (k + 1) * width, strip.height) for k in range(len(columns))]
            lines.append([strip.crop(box) for box in boxes])
        labels.append(CONTESTANTS[task.method].title)
    photos = [square(member.subject.images[0], width) for member in tasks[0].group]
    count = max(len(photos), len(columns))  # a picture has as many labels as columns
    labels = ["a photograph of each", *labels]
    return contact_sheet([photos, *lines], labels, [*columns, *[""] * (count - len(columns))])
