"""Searches the best rate and number of steps of each rival on the development subjects.

`python -m benchmarks.rival_search --out docs` writes `rivals.md` there and prints the best. Every
(subject, method, rate, steps) is one cell: a JSON file under `--cache`, named by a hash of all that
it depends on, so a run goes on where an earlier one stopped. Several processes share the subjects:
`--split 1/2 & --split 2/2`; the one that finds all cells done writes the report.

The best setting of a method has the greatest sum of text and image alignment: too little training
loses the second, too much the first. Cones, at its own rate, is measured beside them, for how soon
it has the image alignment that Custom Diffusion reaches at best.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.command import arguments, complete
from benchmarks.evidence import toybox_hash
from benchmarks.report import column, plain
from cones.comparison.store import Cell, Cells, files_hash
from cones.errors import ConesError
from cones.evaluation import GENERAL_PROMPTS, PROMPTS, Evaluator
from cones.evaluation.scores import share
from cones.files.writing import atomic_write
from cones.methods import METHODS
from cones.methods.training import RivalConfig
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import SubjectInfo
from cones.neurons.projections import fingerprint, projections
from cones.sampling.generate import Artifact
from cones.search.config import FindConfig
from cones.search.prior import draw_class_images
from cones.subjects.subject import Subject
from cones.toybox.protocol import TOYBOX

REVISION = 1  # raise it when a fit gives something else, so that old cells are not taken
PROTOCOL = TOYBOX
SUBJECTS = Path(__file__).parents[1] / "examples" / "subjects" / "dev"

# Method -> rates and steps to try.
GRID: Mapping[str, tuple[Sequence[float], Sequence[int]]] = {
    "textual_inversion": ((2e-3, 8e-3, 3e-2), (125, 250, 500)),
    "dreambooth": ((5e-6, 2e-5, 1e-4), (100, 200, 400)),
    "custom_diffusion": ((1e-4, 3e-4, 1e-3), (100, 200, 400)),
    "lora": ((5e-4, 2e-3, 5e-3), (100, 200, 400)),
    "cones": ((METHODS["cones"].defaults.rate,), (25, 50, 100, 200)),
}


@dataclass(frozen=True)
class Setting:
    """One point of the grid.

    Attributes:
        method: its key in `METHODS`.
        config: its defaults with the rate and the steps in question.
    """

    method: str
    config: RivalConfig | FindConfig


def settings(methods: Sequence[str]) -> list[Setting]:
    """The grid of some methods."""
    return [
        Setting(method, replace(METHODS[method].defaults, rate=rate, steps=steps))
        for method in methods
        for rate, steps in product(*GRID[method])
    ]


class Search:
    """The cells of one model, one set of subjects and one number of pictures."""

    def __init__(
        self, model: str, subjects: list[Path], num_images: int, methods: Sequence[str], cache: Path
    ) -> None:
        """Opens the model; nothing is drawn yet."""
        self.backbone, self.folders = load_backbone(model, dtype=torch.float32), subjects
        self.seeds, self.kept, self.settings = range(num_images), Cells(cache), settings(methods)
        self.model = [fingerprint(projections(self.backbone)), toybox_hash()]

    def path(self, folder: Path, setting: Setting) -> Path:
        """Where a cell lies."""
        provenance: dict[str, Any] = {
            "revision": REVISION,
            "model": self.model,
            "photos": files_hash(sorted(folder.glob("*.png"))),
            "protocol": PROTOCOL.as_dict(),
            "prompts": [*PROMPTS, *GENERAL_PROMPTS],
            "seeds": list(self.seeds),
            "config": asdict(setting.config),
        }
        return self.kept.path(f"{folder.name}-{setting.method}", provenance)

    def cells(self) -> dict[Setting, list[Cell]]:
        """Setting -> its cells that are done, by subject."""
        found = {
            setting: [self.kept.get(self.path(folder, setting)) for folder in self.folders]
            for setting in self.settings
        }
        return {setting: [cell for cell in listed if cell] for setting, listed in found.items()}

    def measure(self, folder: Path) -> None:
        """Fills the cells of one subject that are not there yet."""
        missing = [each for each in self.settings if not self.path(folder, each).exists()]
        if not missing:
            return
        subject = Subject.from_folder(folder, folder.name.partition("-")[0])
        info = SubjectInfo(subject.token, subject.class_noun)
        evaluator = Evaluator(self.backbone, [info], [folder], seeds=self.seeds, protocol=PROTOCOL)
        most = max(setting.config.prior_images for setting in missing)
        images = draw_class_images(self.backbone, subject, most, seed=0)
        for run in runs(missing):
            for setting, cell in self._cells(evaluator, subject, run, images).items():
                told = " ".join(
                    f"{key} {value:.3g}" for key, value in cell.items() if value is not None
                )
                config = setting.config
                print(
                    f"{folder.name}: {setting.method}, {config.rate:g}, {config.steps} steps, "
                    f"{told}",
                    flush=True,
                )
                self.kept.put(self.path(folder, setting), cell)

    def _cells(
        self,
        evaluator: Evaluator,
        subject: Subject,
        run: Sequence[Setting],
        images: list[Image.Image],
    ) -> dict[Setting, Cell]:
        """The cells of settings that differ in their steps: one fit, and its state in between."""
        cells: dict[Setting, Cell] = {}
        start = time.perf_counter()

        def measured(setting: Setting, artifact: Artifact) -> None:
            nonlocal start
            seconds = time.perf_counter() - start
            found = evaluator.measure(artifact.applied(self.backbone))
            scores = found.scores
            cells[setting] = {
                "text_alignment": scores.text_alignment,
                "image_alignment": scores.image_alignment,
                "share": share(scores, evaluator.floor, evaluator.ceiling),
                "drift": found.drift,
                "seconds": seconds,
            }
            start = time.perf_counter() - seconds

        *stops, last = run
        more = {"stops": {each.config.steps: partial(measured, each) for each in stops}}
        class_images = {subject.class_noun: images[: last.config.prior_images]}
        try:
            artifact = METHODS[last.method].fit(
                self.backbone, subject, last.config, class_images, **(more if stops else {})
            )
            measured(last, artifact)
        except ConesError:  # it diverged
            none = ("text_alignment", "image_alignment", "share", "drift", "seconds")
            cells = {each: cells.get(each, dict.fromkeys(none)) for each in run}
        return cells


def runs(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Settings that one fit can measure, from the fewest steps to the most.

    A search for neurons shuts more of them from step to step, so each number of steps is its own.
    """
    found: dict[object, list[Setting]] = {}
    for each in sorted(settings, key=lambda setting: setting.config.steps):
        alone = each if each.method == "cones" else None
        found.setdefault((each.method, each.config.rate, alone), []).append(each)
    return list(found.values())


def merit(cells: Sequence[Cell]) -> float:
    """The mean sum of text and image alignment; minus infinity where a fit diverged."""
    if any(cell["text_alignment"] is None for cell in cells):
        return -inf
    return _mean(cells, "text_alignment") + _mean(cells, "image_alignment")


def best(cells: Mapping[Setting, Sequence[Cell]]) -> dict[str, Setting]:
    """Method -> its best setting."""
    methods = dict.fromkeys(setting.method for setting in cells)
    return {
        method: max((s for s in cells if s.method == method), key=lambda s: merit(cells[s]))
        for method in methods
    }


def report(cells: Mapping[Setting, Sequence[Cell]], subjects: Sequence[str], pictures: int) -> str:
    """The tables of all methods, in Markdown; the best setting of each is bold."""
    chosen = best(cells).values()
    lines = [
        "# The rivals' settings",
        "",
        f"By `python -m benchmarks.rival_search --out docs --only {' '.join(subjects)} "
        f"--num_images {pictures}`: protocol {PROTOCOL.name} {PROTOCOL.version}, {len(subjects)} "
        f"development subjects, {len(PROMPTS)} prompts, {pictures} pictures of each. Mean ± "
        "standard error over the subjects. Bold: the greatest sum of text and image alignment. "
        "A dash: a fit diverged.",
    ]
    for method in dict.fromkeys(setting.method for setting in cells):
        lines += [
            "",
            f"## {method}",
            "",
            "| rate | steps | text alignment | image alignment | sum | share | drift |",
            "|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for setting in (each for each in cells if each.method == method):
            found, config = cells[setting], setting.config
            bold = "**" if setting in chosen else ""
            columns = (
                f"{bold}{config.rate:g}{bold}",
                f"{bold}{config.steps}{bold}",
                column(found, "text_alignment", ".4f"),
                column(found, "image_alignment", ".4f"),
                f"{merit(found):.4f}" if merit(found) > -inf else "-",
                plain(found, "share", ".2f"),
                plain(found, "drift", ".4f"),
            )
            lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines) + "\n"


def race(cells: Mapping[Setting, Sequence[Cell]]) -> str:
    """How near Cones comes to the best image alignment of Custom Diffusion, how soon; Markdown."""
    theirs = {s: f for s, f in cells.items() if s.method == "custom_diffusion" and merit(f) > -inf}
    goal = max(theirs, key=lambda setting: _mean(theirs[setting], "image_alignment"))
    lines = [
        "",
        "## Time to Custom Diffusion's best image alignment",
        "",
        f"That is {_mean(theirs[goal], 'image_alignment'):.4f}, at rate {goal.config.rate:g} after "
        f"{goal.config.steps} steps. Cones against it, subject by subject: mean ± standard error. "
        "Times are of fitting, without drawing images of the class, in one process for each "
        "subject. Wanted: as much in at most 0.33 of the time.",
        "",
        "| Cones, steps | image alignment, difference | text alignment, difference | time, ratio |",
        "|---:|---:|---:|---:|",
    ]
    for setting, found in cells.items():
        if setting.method == "cones" and merit(found) > -inf:
            pairs = list(zip(found, theirs[goal], strict=True))
            compared = [
                {
                    "image": a["image_alignment"] - b["image_alignment"],
                    "text": a["text_alignment"] - b["text_alignment"],
                    "time": a["seconds"] / b["seconds"],
                }
                for a, b in pairs
            ]
            columns = [str(setting.config.steps)]
            columns += [column(compared, key, "+.4f") for key in ("image", "text")]
            columns += [column(compared, "time", ".2f")]
            lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines) + "\n"


def _mean(cells: Sequence[Cell], key: str) -> float:
    return sum(float(cell[key]) for cell in cells) / len(cells)


def main() -> None:
    """Parses the command line, measures, and writes the report when every cell is there."""
    parser = arguments("rival_search", __doc__, "rivals.md", SUBJECTS, "docs/cells/rivals")
    parser.add_argument("--only", nargs="+", help="names of some subjects")
    parser.add_argument("--methods", nargs="+", choices=GRID, default=list(GRID))
    parser.add_argument("--num_images", type=int, default=2, help="pictures of each prompt")
    args = parser.parse_args()
    folders = sorted(path for path in args.subjects.iterdir() if path.is_dir())
    if args.only:
        folders = [args.subjects / name for name in args.only]
    search = Search(args.model, folders, args.num_images, args.methods, args.cache)
    first, every = args.split
    for folder in search.folders[first::every]:
        search.measure(folder)
    cells = search.cells()
    missing = sum(len(search.folders) - len(found) for found in cells.values())
    if not complete(missing):
        return
    names = [folder.name for folder in search.folders]
    text = report(cells, names, args.num_images)
    if {"cones", "custom_diffusion"} <= {setting.method for setting in cells}:
        text += race(cells)
    atomic_write(args.out / "rivals.md", text.encode())
    for method, setting in best(cells).items():
        print(f"{method}: rate {setting.config.rate:g}, {setting.config.steps} steps")


if __name__ == "__main__":
    main()
