"""Measure what the paper's Figures 2 to 4 show, over all test subjects.

`python -m benchmarks.figures --out docs` writes `figures.md`. The neurons are those of `make
table`, searched for where that has not run yet. Each measurement is one result in `figures.jsonl`
under `--cache`, so a run goes on where an earlier one stopped, and several processes share them:
`--split 1/2 & --split 2/2`; the one that finds all done writes the report.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import arguments, complete
from benchmarks.evidence import SUBJECTS
from benchmarks.report import machine
from cones.comparison.entries import TUNING
from cones.comparison.groups import Group, design
from cones.comparison.markdown import average, table_lines
from cones.comparison.precision import PLACES, SEEDS, compare_precisions
from cones.comparison.runner import CompareConfig, Comparison
from cones.comparison.store import Result, ResultStore, result_key
from cones.evaluation.localisation import NUM, localise
from cones.files.writing import atomic_write
from cones.methods.artifact import Cones
from cones.methods.registry import METHODS
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons
from cones.neurons.overlap import compared_with_joint, pairwise
from cones.search.config import PRECISIONS
from cones.search.interference import combine
from cones.toybox.protocol import TOYBOX
from cones.toybox.reference import RENDERS

REVISION = 1  # raise it when a measurement gives something else, so that old results are not taken
PROTOCOL = TOYBOX


@dataclass(frozen=True)
class Task:
    """One measurement.

    Attributes:
        figure: "attention", "joint" or "precision".
        group: of whom.
        measure: makes its result.
    """

    figure: str
    group: Group
    measure: Callable[[Group], Result]


class Figures:
    """The measurements of one model and one set of subjects."""

    def __init__(self, model: str, subjects: Path, groups: int, num: int, cache: Path) -> None:
        """Open the model; nothing is searched for yet.

        Args:
            model: as for the cones command.
            subjects: a folder of their folders.
            groups: of one subject and of two, for precision and for joint searches.
            num: renders for each attention map.
            cache: the folder of the results of `make table`, which gets these too.
        """
        self.backbone, self.num = load_backbone(model, dtype=torch.float32), num
        config = CompareConfig(methods=("cones",), blocks=(1,), groups=groups)
        comparison = Comparison(self.backbone, subjects, cache, config, PROTOCOL)
        self.members, self.fits = comparison.members, comparison.fits
        self.about, self.store = comparison.about, ResultStore(cache / "figures.jsonl")
        alone = [(member,) for member in self.members]
        pairs = design(self.members, 2, groups)
        self.tasks = [
            *(Task("attention", group, self._attention) for group in alone),
            *(Task("joint", group, self._joint) for group in pairs),
            *(Task("precision", group, self._precision) for group in [*alone[:groups], *pairs]),
        ]

    def provenance(self, task: Task) -> dict[str, Any]:
        """All that a result depends on."""
        return {
            "revision": REVISION,
            "about": [self.about["protocol"], self.about["model"]],
            "members": [[member.subject.phrase, member.photos] for member in task.group],
            "settings": [asdict(METHODS["cones"].defaults), asdict(TUNING), list(PLACES), self.num],
        }

    def key(self, task: Task) -> str:
        """The key of its result."""
        names = "-".join(member.name for member in task.group)
        return result_key(f"{task.figure}-{names}", self.provenance(task))

    def run(self, share: tuple[int, int]) -> None:
        """Measure what is missing of every n-th result from the i-th on."""
        first, every = share
        for task in self.tasks[first::every]:
            if self.store.get(self.key(task)) is None:
                self.store.put(self.key(task), task.measure(task.group), self.provenance(task))
                print(task.figure, *(member.name for member in task.group), flush=True)

    def done(self) -> list[tuple[Task, Result]]:
        """The results that are there."""
        found = [(task, self.store.get(self.key(task))) for task in self.tasks]
        return [(task, result) for task, result in found if result is not None]

    def neurons(self, group: Group) -> ConceptNeurons:
        """Those of one subject, or of a joint search for several."""
        artifact = self.fits.kept("cones", group).artifact
        assert isinstance(artifact, Cones)
        return artifact.neurons

    def union(self, group: Group) -> ConceptNeurons:
        """Of the neurons of each alone."""
        return combine([self.neurons((member,)) for member in group])

    def _attention(self, group: Group) -> Result:
        found = localise(self.backbone, self.neurons(group), group[0].folder, RENDERS, self.num)
        return {
            f"{word} {figure} {moment}": getattr(getattr(each, figure), moment)[0]
            for word, each in zip(("token", "noun"), found, strict=True)
            for figure in ("auroc", "iou")
            for moment in ("before", "after", "gain")
        }

    def _joint(self, group: Group) -> Result:
        found = compared_with_joint(self.union(group), self.neurons(group))
        told = found.as_dict()
        del told["pair"]
        return {**told, "ratio": found.pair.ratio}

    def _precision(self, group: Group) -> Result:
        images = self.fits.class_images(group, TUNING)
        subjects = [member.subject for member in group]
        rows = compare_precisions(
            self.backbone,
            self.union(group),
            subjects,
            config=TUNING,
            protocol=PROTOCOL,
            class_images=images,
        )
        return {row.name: row.as_dict() for row in rows}


def attention(results: Sequence[Result]) -> list[str]:
    """The table of Figure 2."""
    rows = []
    for word in ("token", "noun"):
        for figure, title in (("auroc", "AUROC"), ("iou", "best IoU")):
            keys = [f"{word} {figure} {moment}" for moment in ("before", "after", "gain")]
            columns = [average(results, key, "+.3f" if "gain" in key else ".3f") for key in keys]
            rows.append([word, title, *columns])
    return table_lines(["", "", "before", "after", "gain"], rows, words=2)


def precision(results: Sequence[Result]) -> list[str]:
    """The table of Figure 3."""
    rows = []
    for name in ("base model", *PRECISIONS):
        found = [result[name] for result in results]
        scores = [average(found, key, ".4f") for key in ("text_alignment", "image_alignment")]
        rows.append([name, average(found, "bytes", ",.0f", error=False), *scores])
    return table_lines(["", "bytes", "text alignment", "image alignment"], rows)


def overlap(sets: Sequence[ConceptNeurons], joint: Sequence[Result]) -> list[str]:
    """The sentences of Figure 4."""
    pairs = [pair.as_dict() for pair in pairwise(sets)]
    ratios = [pair["ratio"] for pair in pairs]
    shares = [pair["shared"] / len(sets[0]) for pair in pairs]
    return [
        f"- Two subjects, {len(pairs)} pairs: {average(pairs, 'ratio', '.2f')} times as many "
        f"neurons in common as by chance ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"{sum(shares) / len(shares):.1%} of each one's. (The standard error takes the pairs for "
        "independent.)",
        f"- Union of two against the joint search for both, {len(joint)} pairs: "
        f"{average(joint, 'ratio', '.2f')} times as many in common as by chance; "
        f"{average(joint, 'of_joint', '.1f', 100)} % of the joint search's neurons are in the "
        f"union (by chance {average(joint, 'of_joint_expected', '.1f', 100, error=False)} %).",
    ]


def report(figures: Figures) -> str:
    """All of it, in Markdown, once every result is there."""
    done, protocol = figures.done(), figures.about["protocol"]

    def of(figure: str, size: int) -> list[Result]:
        return [result for t, result in done if t.figure == figure and len(t.group) == size]

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
        found = of("precision", size)
        lines += ["", f"{title}, {len(found)} groups:", "", *precision(found)]
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
    """Parse the command line, measure, and write the report when every result is there."""
    parser = arguments("figures", __doc__, "figures.md", SUBJECTS)
    parser.add_argument("--groups", type=int, default=4, help="of one and of two subjects")
    parser.add_argument("--num", type=int, default=NUM, help="renders for each attention map")
    args = parser.parse_args()
    figures = Figures(args.model, args.subjects, args.groups, args.num, args.cache)
    figures.run(args.split)
    if complete(len(figures.tasks) - len(figures.done())):
        atomic_write(args.out / "figures.md", report(figures).encode())


if __name__ == "__main__":
    main()
