"""Measures what the paper's Figures 2 to 4 show, over all test subjects.

`python -m benchmarks.figures --out docs` writes `figures.md`. The neurons are those of `make
table`, searched for where that has not run yet. Each measurement is a cell as there, so a run goes
on where an earlier one stopped, and several processes share them: `--split 1/2 & --split 2/2`; the
one that finds all done writes the report.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.command import arguments, complete
from benchmarks.evidence import SUBJECTS
from benchmarks.report import column, machine, plain
from cones.comparison.entries import TUNING, settings
from cones.comparison.groups import Group, design
from cones.comparison.precision import PLACES, SEEDS, compare_precisions
from cones.comparison.runner import CompareConfig, Comparison
from cones.comparison.store import Cell, Cells
from cones.evaluation.localisation import NUM, localise
from cones.files.writing import atomic_write
from cones.methods.artifact import Cones
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.overlap import compared_with_joint, pairwise
from cones.search.interference import combine
from cones.toybox.reference import RENDERS

REVISION = 1  # raise it when a measurement gives something else, so that old cells are not taken


@dataclass(frozen=True)
class Task:
    """One measurement.

    Attributes:
        figure: "attention", "joint" or "precision".
        group: of whom.
        measure: makes its cell.
    """

    figure: str
    group: Group
    measure: Callable[[Group], Cell]


class Figures:
    """The measurements of one model and one set of subjects."""

    def __init__(self, model: str, subjects: Path, groups: int, num: int, cache: Path) -> None:
        """Opens the model; nothing is searched for yet.

        Args:
            model: as for the cones command.
            subjects: a folder of their folders.
            groups: of one subject and of two, for precision and for joint searches.
            num: renders for each attention map.
            cache: the folder of the cells of `make table`.
        """
        self.backbone, self.num = load_backbone(model, dtype=torch.float32), num
        config = CompareConfig(methods=("cones",), blocks=(1,), groups=groups)
        comparison = Comparison(self.backbone, subjects, cache, config)
        self.members, self.fits = comparison.members, comparison.fits
        self.about, self.cells = comparison.about, Cells(cache / "figures")
        alone = [(member,) for member in self.members]
        pairs = design(self.members, 2, groups)
        self.tasks = [
            *(Task("attention", group, self._attention) for group in alone),
            *(Task("joint", group, self._joint) for group in pairs),
            *(Task("precision", group, self._precision) for group in [*alone[:groups], *pairs]),
        ]

    def path(self, task: Task) -> Path:
        """Where its cell lies."""
        provenance = {
            "revision": REVISION,
            "about": [self.about["protocol"], self.about["model"]],
            "members": [[member.subject.phrase, member.photos] for member in task.group],
            "settings": [asdict(settings("cones", 1)), asdict(TUNING), list(PLACES), self.num],
        }
        names = "-".join(member.name for member in task.group)
        return self.cells.path(f"{task.figure}-{names}", provenance)

    def run(self, share: tuple[int, int]) -> None:
        """Measures what is missing of every n-th cell from the i-th on."""
        first, every = share
        for task in self.tasks[first::every]:
            if self.cells.get(self.path(task)) is None:
                self.cells.put(self.path(task), task.measure(task.group))
                print(task.figure, *(member.name for member in task.group), flush=True)

    def done(self) -> list[tuple[Task, Cell]]:
        """The cells that are there."""
        found = [(task, self.cells.get(self.path(task))) for task in self.tasks]
        return [(task, cell) for task, cell in found if cell is not None]

    def neurons(self, group: Group) -> ConceptNeurons:
        """Those of one subject, or of a joint search for several."""
        artifact = self.fits.kept("cones", group).artifact
        assert isinstance(artifact, Cones)
        return artifact.neurons

    def union(self, group: Group) -> ConceptNeurons:
        """Of the neurons of each alone."""
        return combine([self.neurons((member,)) for member in group])

    def _attention(self, group: Group) -> Cell:
        found = localise(self.backbone, self.neurons(group), group[0].folder, RENDERS, self.num)
        return {
            f"{word} {figure} {moment}": getattr(getattr(each, figure), moment)[0]
            for word, each in zip(("token", "noun"), found, strict=True)
            for figure in ("auroc", "iou")
            for moment in ("before", "after", "gain")
        }

    def _joint(self, group: Group) -> Cell:
        found = compared_with_joint(self.union(group), self.neurons(group))
        told = found.as_dict()
        del told["pair"]
        return {**told, "ratio": found.pair.ratio}

    def _precision(self, group: Group) -> Cell:
        images = self.fits.class_images(group, TUNING)
        subjects = [member.subject for member in group]
        rows = compare_precisions(
            self.backbone, self.union(group), subjects, config=TUNING, class_images=images
        )
        return {row.name: row.as_dict() for row in rows}


def attention(cells: Sequence[Cell]) -> list[str]:
    """The table of Figure 2."""
    lines = ["| | | before | after | gain |", "|---|---|---:|---:|---:|"]
    for word in ("token", "noun"):
        for figure, title in (("auroc", "AUROC"), ("iou", "best IoU")):
            keys = [f"{word} {figure} {moment}" for moment in ("before", "after", "gain")]
            columns = [column(cells, key, "+.3f" if "gain" in key else ".3f") for key in keys]
            lines.append("| " + " | ".join([word, title, *columns]) + " |")
    return lines


def precision(cells: Sequence[Cell]) -> list[str]:
    """The table of Figure 3."""
    lines = ["| | bytes | text alignment | image alignment |", "|---|---:|---:|---:|"]
    for name in cells[0]:
        rows = [cell[name] for cell in cells]
        scores = [column(rows, key, ".4f") for key in ("text_alignment", "image_alignment")]
        lines.append("| " + " | ".join([name, plain(rows, "bytes", ",.0f"), *scores]) + " |")
    return lines


def overlap(sets: Sequence[ConceptNeurons], joint: Sequence[Cell]) -> list[str]:
    """The sentences of Figure 4."""
    pairs = [pair.as_dict() for pair in pairwise(sets)]
    ratios = [pair["ratio"] for pair in pairs]
    shares = [pair["shared"] / len(sets[0]) for pair in pairs]
    return [
        f"- Two subjects, {len(pairs)} pairs: {column(pairs, 'ratio', '.2f')} times as many "
        f"neurons in common as by chance ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"{sum(shares) / len(shares):.1%} of each one's. (The standard error takes the pairs for "
        "independent.)",
        f"- Union of two against the joint search for both, {len(joint)} pairs: "
        f"{column(joint, 'ratio', '.2f')} times as many in common as by chance; "
        f"{column(joint, 'of_joint', '.1f', 100)} % of the joint search's neurons are in the union "
        f"(by chance {plain(joint, 'of_joint_expected', '.1f', 100)} %).",
    ]


def report(figures: Figures) -> str:
    """All of it, in Markdown, once every cell is there."""
    done, protocol = figures.done(), figures.about["protocol"]

    def of(figure: str, size: int) -> list[Cell]:
        return [cell for t, cell in done if t.figure == figure and len(t.group) == size]

    lines = [
        "# The paper's figures, over the test subjects",
        "",
        "Written by `python -m benchmarks.figures --out docs`; do not edit. "
        f"{len(figures.members)} subjects "
        f"({', '.join(member.name for member in figures.members)}), protocol "
        f"{protocol['name']} {protocol['version']}, seed 0 of every search. Mean ± standard error "
        "over the subjects or pairs.",
        "",
        "## Figure 2: where the subject is looked at",
        "",
        f"The map of a word against the true mask of {figures.num} fresh renders of the subject, "
        "noised: before and after shutting (`cones attention --images`). 0.5 is chance in AUROC.",
        "",
        *attention(of("attention", 1)),
        "",
        "## Figure 3: precision",
        "",
        f"The union of the subjects' neurons, tuned in {TUNING.steps} steps (`cones precision`); "
        f"{len(PLACES)} prompts, {len(SEEDS)} pictures of each.",
    ]
    for size, title in ((1, "One subject"), (2, "Two subjects in one picture")):
        cells = of("precision", size)
        lines += ["", f"{title}, {len(cells)} groups:", "", *precision(cells)]
    lines += [
        "",
        "## Figure 4: how much is shared",
        "",
        *overlap([figures.neurons((each,)) for each in figures.members], of("joint", 2)),
        "",
        f"Measured on {machine()}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parses the command line, measures, and writes the report when every cell is there."""
    parser = arguments("figures", __doc__, "figures.md", SUBJECTS, "docs/cells/table")
    parser.add_argument("--groups", type=int, default=4, help="of one and of two subjects")
    parser.add_argument("--num", type=int, default=NUM, help="renders for each attention map")
    args = parser.parse_args()
    figures = Figures(args.model, args.subjects, args.groups, args.num, args.cache)
    figures.run(args.split)
    if complete(len(figures.tasks) - len(figures.done())):
        atomic_write(args.out / "figures.md", report(figures).encode())


if __name__ == "__main__":
    main()
