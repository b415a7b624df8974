"""The report on the rivals' settings: tables in Markdown, and which setting is the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from cones.comparison.markdown import average, table_lines
from cones.comparison.store import Result
from cones.evaluation import PROMPTS, Protocol
from cones.methods.method import RivalConfig
from cones.search.config import FindConfig

TITLES = ("rate", "steps", "text alignment", "image alignment", "sum", "share", "drift")
RACE = (
    "Cones, steps",
    "image alignment, difference",
    "text alignment, difference",
    "time, ratio",
)


@dataclass(frozen=True)
class Setting:
    """One point of the grid.

    Attributes:
        method: its key in `METHODS`.
        config: its defaults with the rate and the steps in question.
    """

    method: str
    config: RivalConfig | FindConfig


AllResults = Mapping[Setting, Sequence[Result]]  # of all subjects


def merit(results: Sequence[Result]) -> float:
    """The mean sum of text and image alignment; minus infinity where a fit diverged."""
    if any(result["text_alignment"] is None for result in results):
        return -inf
    return _mean(results, "text_alignment") + _mean(results, "image_alignment")


def best(results: AllResults) -> dict[str, Setting]:
    """Method -> its best setting."""
    methods = dict.fromkeys(setting.method for setting in results)
    return {
        method: max((s for s in results if s.method == method), key=lambda s: merit(results[s]))
        for method in methods
    }


def report(results: AllResults, subjects: Sequence[str], pictures: int, protocol: Protocol) -> str:
    """The tables of all methods, in Markdown; the best setting of each is bold.

    Args:
        results: setting -> one result a subject.
        subjects: their names.
        pictures: how many of each prompt.
        protocol: how they were drawn and scored.
    """
    chosen = best(results).values()
    lines = [
        "# The rivals' settings",
        "",
        f"By `python -m benchmarks.rival_search --out docs --only {' '.join(subjects)} "
        f"--num_images {pictures}`: protocol {protocol.name} {protocol.version}, {len(subjects)} "
        f"development subjects, {len(PROMPTS)} prompts, {pictures} pictures of each. Mean ± "
        "standard error over the subjects. Bold: the greatest sum of text and image alignment. "
        "A dash: a fit diverged.",
    ]
    for method in dict.fromkeys(setting.method for setting in results):
        settings = [each for each in results if each.method == method]
        rows = [_row(each, results[each], each in chosen) for each in settings]
        lines += ["", f"## {method}", "", *table_lines(TITLES, rows, words=0)]
    return "\n".join(lines) + "\n"


def _row(setting: Setting, found: Sequence[Result], best: bool) -> list[str]:
    """A row of the table of a method; rate and steps are bold in the best one."""
    bold, total = "**" if best else "", merit(found)
    return [
        f"{bold}{setting.config.rate:g}{bold}",
        f"{bold}{setting.config.steps}{bold}",
        average(found, "text_alignment", ".4f"),
        average(found, "image_alignment", ".4f"),
        f"{total:.4f}" if total > -inf else "-",
        average(found, "share", ".2f", error=False),
        average(found, "drift", ".4f", error=False),
    ]


def race(results: AllResults) -> str:
    """How near Cones comes to the best image alignment of Custom Diffusion, how soon; Markdown."""
    theirs = {
        setting: found
        for setting, found in results.items()
        if setting.method == "custom_diffusion" and merit(found) > -inf
    }
    goal = max(theirs, key=lambda setting: _mean(theirs[setting], "image_alignment"))
    rows = [
        _race_row(setting, found, theirs[goal])
        for setting, found in results.items()
        if setting.method == "cones" and merit(found) > -inf
    ]
    lines = [
        "",
        "## Time to Custom Diffusion's best image alignment",
        "",
        f"That is {_mean(theirs[goal], 'image_alignment'):.4f}, at rate {goal.config.rate:g} after "
        f"{goal.config.steps} steps. Cones against it, subject by subject: mean ± standard error. "
        "Times are of fitting, without drawing images of the class, in one process for each "
        "subject.",
        "",
        *table_lines(RACE, rows, words=0),
    ]
    return "\n".join(lines) + "\n"


def _race_row(setting: Setting, ours: Sequence[Result], theirs: Sequence[Result]) -> list[str]:
    """What Cones differs by in a setting, over the subjects."""
    compared = [
        {
            "image": a["image_alignment"] - b["image_alignment"],
            "text": a["text_alignment"] - b["text_alignment"],
            "time": a["seconds"] / b["seconds"],
        }
        for a, b in zip(ours, theirs, strict=True)
    ]
    differences = [average(compared, key, "+.4f") for key in ("image", "text")]
    return [str(setting.config.steps), *differences, average(compared, "time", ".2f")]


def _mean(results: Sequence[Result], key: str) -> float:
    return sum(float(result[key]) for result in results) / len(results)
