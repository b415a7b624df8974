"""Tables in Markdown, and the one of a comparison."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cones.comparison.entries import ENTRIES
from cones.comparison.runner import Comparison
from cones.evaluation.metrics import mean_and_se
from cones.text import with_error

Row = dict[str, Any]

RENDERS = "renders"  # what rows of fresh renders have for a method
CEILING = (
    "- *fresh renders*: of the subjects together, as the prompts ask for them; what the scores are "
    "worth at best."
)
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


def table_lines(titles: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> list[str]:
    """The lines of a table in Markdown.

    Args:
        titles: of the columns.
        rows: each as long as the titles.
        words: how many columns, from the first on, hold words; the others hold numbers.
    """
    rule = "|" + "---|" * words + "---:|" * (len(titles) - words)
    first, *others = [
        "".join(f"| {text} " if text else "| " for text in row) + "|" for row in (titles, *rows)
    ]
    return [first, rule, *others]


def average(
    results: Sequence[Mapping[str, Any]], key: str, form: str, scale: float = 1, error: bool = True
) -> str:
    """The mean of a figure over results, with its standard error; a dash where no result has it.

    Args:
        results: of independent things, such as subjects.
        key: of the figure, which may be None in some.
        form: see `cones.text.with_error`.
        scale: what it is multiplied by.
        error: whether the standard error is told.
    """
    values = [result[key] * scale for result in results if result[key] is not None]
    mean, of_mean = mean_and_se(values) if values else (None, None)
    return with_error(mean, of_mean if error else None, form)


def page(table: Mapping[str, Any], model: str, written_by: str, figure: bool = False) -> str:
    """A comparison for people: its tables, and what they mean.

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
        *(f"- *{ENTRIES[name].title}*: {ENTRIES[name].how}." for name in methods),
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
    lines = [_line(row, columns, best if row in methods else {}) for row in listed]
    return table_lines(titles, lines)


def _line(row: Row, columns: Sequence[str], best: Mapping[str, float | None]) -> list[str]:
    title = "*fresh renders*"
    if row["method"] != RENDERS:
        title = ENTRIES[row["method"]].title
    shown = [_figures(row, key, best.get(key)) for key in columns]
    diverged = f", {row['diverged']} diverged" if row["diverged"] else ""
    groups = f"{row['groups']} of {row['planned']} groups{diverged}"
    return [title, *shown, groups]


def _figures(row: Row, key: str, best: float | None) -> str:
    mean, error, form = row.get(key), row.get(f"{key}_se"), COLUMNS[key][1]
    bold = None not in (mean, best) and f"{mean:{form}}" == f"{best:{form}}"
    return with_error(mean, error, form, bold)
