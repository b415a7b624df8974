"""The figure of a comparison: pictures of all methods side by side."""

from collections.abc import Sequence

from PIL import Image

from cones.comparison.entries import ENTRIES
from cones.comparison.runner import SHOWN, Comparison, Task
from cones.comparison.store import Result
from cones.models.images import square
from cones.sampling.pictures import contact_sheet


def figure(comparison: Comparison, done: Sequence[tuple[Task, Result]]) -> Image.Image | None:
    """The first group of each block: photographs, then a row a method; None without a picture."""
    sheets = []
    for size in comparison.planned:
        shown = [
            task for task, result in done
            if len(task.group) == size and task.number == 0 and "diverged" not in result
        ]  # fmt: skip
        if shown:
            sheets.append(_sheet(shown, comparison))
    if not sheets:
        return None
    width, height = max(each.width for each in sheets), sum(each.height for each in sheets)
    whole, top = Image.new("RGB", (width, height), "white"), 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def _sheet(tasks: Sequence[Task], comparison: Comparison) -> Image.Image:
    """One block: a photograph of each subject, then a row a method."""
    columns = comparison.config.prompts[:SHOWN]
    lines = [comparison.store.pictures(task.key, len(columns)) for task in tasks]
    labels = ["a photograph of each", *(ENTRIES[task.method].title for task in tasks)]
    width = lines[0][0].width
    photos = [square(member.subject.images[0], width) for member in tasks[0].group]
    count = max(len(photos), len(columns))  # a picture has as many labels as columns
    return contact_sheet([photos, *lines], labels, [*columns, *[""] * (count - len(columns))])
