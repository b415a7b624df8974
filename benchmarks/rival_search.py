"""Search the best rate and number of steps of each rival on the development subjects.

`python -m benchmarks.rival_search --out docs` writes `rivals.md` there and prints the best. Every
(subject, method, rate, steps) is one result in `rivals.jsonl` under `--cache`, with a key made of
all that it depends on, so a run goes on where an earlier one stopped. Several processes share the
subjects: `--split 1/2 & --split 2/2`; the one that finds all results done writes the report.

The best setting of a method has the greatest sum of text and image alignment: too little training
loses the second, too much the first. Cones, at its own rate, is measured beside them, for how soon
it has the image alignment that Custom Diffusion reaches at best.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.command import arguments, complete
from benchmarks.evidence import toybox_hash
from benchmarks.rival_report import Setting, best, race, report
from cones.comparison.store import Result, ResultStore, files_hash, result_key
from cones.errors import ConesError
from cones.evaluation import GENERAL_PROMPTS, PROMPTS, Evaluator
from cones.evaluation.scores import share
from cones.files.writing import atomic_write
from cones.methods.registry import METHODS
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import SubjectInfo
from cones.neurons.projections import fingerprint, projections
from cones.sampling.artifact import Artifact
from cones.search.prior import draw_class_images
from cones.subjects.subject import Subject
from cones.toybox.protocol import TOYBOX

REVISION = 1  # raise it when a fit gives something else, so that old results are not taken
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


def settings(methods: Sequence[str]) -> list[Setting]:
    """The grid of some methods."""
    return [
        Setting(method, replace(METHODS[method].defaults, rate=rate, steps=steps))
        for method in methods
        for rate, steps in product(*GRID[method])
    ]


class Search:
    """The results of one model, one set of subjects and one number of pictures."""

    def __init__(
        self, model: str, subjects: list[Path], num_images: int, methods: Sequence[str], cache: Path
    ) -> None:
        """Open the model; nothing is drawn yet.

        Args:
            model: as for the cones command.
            subjects: their folders.
            num_images: pictures of each prompt.
            methods: names of those to search.
            cache: the folder of `rivals.jsonl`.
        """
        self.backbone, self.folders = load_backbone(model, dtype=torch.float32), subjects
        self.seeds, self.settings = range(num_images), settings(methods)
        self.store = ResultStore(cache / "rivals.jsonl")
        self.model = [fingerprint(projections(self.backbone)), toybox_hash()]

    def provenance(self, folder: Path, setting: Setting) -> dict[str, Any]:
        """All that a result depends on."""
        return {
            "revision": REVISION,
            "model": self.model,
            "photos": files_hash(sorted(folder.glob("*.png"))),
            "protocol": PROTOCOL.as_dict(),
            "prompts": [*PROMPTS, *GENERAL_PROMPTS],
            "seeds": list(self.seeds),
            "config": asdict(setting.config),
        }

    def key(self, folder: Path, setting: Setting) -> str:
        """The key of a result."""
        label = f"{folder.name}-{setting.method}"
        return result_key(label, self.provenance(folder, setting))

    def results(self) -> dict[Setting, list[Result]]:
        """Setting -> its results that are done, by subject."""
        found = {
            setting: [self.store.get(self.key(folder, setting)) for folder in self.folders]
            for setting in self.settings
        }
        return {setting: [each for each in listed if each] for setting, listed in found.items()}

    def measure(self, folder: Path) -> None:
        """Measure the results of one subject that are not there yet."""
        missing = [each for each in self.settings if not self.store.get(self.key(folder, each))]
        if not missing:
            return
        subject = Subject.from_folder(folder, folder.name.partition("-")[0])
        info = SubjectInfo(subject.token, subject.class_noun)
        evaluator = Evaluator(self.backbone, [info], [folder], seeds=self.seeds, protocol=PROTOCOL)
        most = max(setting.config.prior_images for setting in missing)
        images = draw_class_images(self.backbone, subject, most, seed=0)
        for run in runs(missing):
            for setting, result in self._results(evaluator, subject, run, images).items():
                told = " ".join(
                    f"{key} {value:.3g}" for key, value in result.items() if value is not None
                )
                config = setting.config
                print(
                    f"{folder.name}: {setting.method}, {config.rate:g}, {config.steps} steps, "
                    f"{told}",
                    flush=True,
                )
                about = {"subject": folder.name, "method": setting.method}
                provenance = self.provenance(folder, setting)
                self.store.put(self.key(folder, setting), {**about, **result}, provenance)

    def _results(
        self,
        evaluator: Evaluator,
        subject: Subject,
        run: Sequence[Setting],
        images: list[Image.Image],
    ) -> dict[Setting, Result]:
        """The results of settings that differ in their steps: one fit, and its state in between."""
        results: dict[Setting, Result] = {}
        start = time.perf_counter()

        def measured(setting: Setting, artifact: Artifact) -> None:
            nonlocal start
            seconds = time.perf_counter() - start
            found = evaluator.measure(artifact.applied(self.backbone))
            scores = found.scores
            results[setting] = {
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
            results = {each: results.get(each, dict.fromkeys(none)) for each in run}
        return results


def runs(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Settings that one fit can measure, from the fewest steps to the most.

    A search for neurons shuts more of them from step to step, so each number of steps is its own.
    """
    found: dict[object, list[Setting]] = {}
    for each in sorted(settings, key=lambda setting: setting.config.steps):
        alone = each if each.method == "cones" else None
        found.setdefault((each.method, each.config.rate, alone), []).append(each)
    return list(found.values())


def main() -> None:
    """Parse the command line, measure, and write the report when every result is there."""
    parser = arguments("rival_search", __doc__, "rivals.md", SUBJECTS)
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
    results = search.results()
    missing = sum(len(search.folders) - len(found) for found in results.values())
    if not complete(missing):
        return
    names = [folder.name for folder in search.folders]
    text = report(results, names, args.num_images, PROTOCOL)
    if {"cones", "custom_diffusion"} <= {setting.method for setting in results}:
        text += race(results)
    atomic_write(args.out / "rivals.md", text.encode())
    for method, setting in best(results).items():
        print(f"{method}: rate {setting.config.rate:g}, {setting.config.steps} steps")


if __name__ == "__main__":
    main()
