"""Measure concept neurons, the paper's ways to find them, and controls on the test subjects.

`python -m benchmarks.evidence --out docs` writes `evidence.md` and `evidence.png` there. Every
(subject, row) is one result in `evidence.jsonl` under `--cache`, with a key made of all that it
depends on, so a run goes on where an earlier one stopped. Several processes share the subjects:
`--split 1/2 & --split 2/2`; the one that finds all results done writes the report.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.command import arguments, complete
from benchmarks.gate import decoded
from benchmarks.report import SHEET_PROMPTS, SHEET_SUBJECTS, write_report
from cones.comparison.store import Result, ResultStore, files_hash, result_key
from cones.evaluation import GENERAL_PROMPTS, PROMPTS, Evaluator
from cones.evaluation.scores import share
from cones.methods.controls import cns_neurons, magnitude_neurons, random_neurons
from cones.models.backbone import Backbone
from cones.models.loading import load_backbone
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.projections import fingerprint, projections
from cones.search.config import FindConfig
from cones.search.find import find
from cones.subjects.subject import Subject
from cones.toybox import weights
from cones.toybox.protocol import TOYBOX

REVISION = 3  # raise it when the search finds something else, so that old results are not taken
PROTOCOL = TOYBOX
SUBJECTS = Path(__file__).parents[1] / "examples" / "subjects" / "test"
Fit = Callable[[Backbone, Subject], ConceptNeurons]
# The paper's K steps, with so few samples in each that all of them are about as many as ours are.
WALK: dict[str, Any] = {"steps": 1000, "batch": 1, "prior_batch": 1, "prior_weight": 1.0}


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        title: what the table calls it.
        settings: all that its neurons depend on, besides the model and the photographs.
        fit: finds them; None for rows without neurons.
    """

    title: str
    settings: dict[str, Any]
    fit: Fit | None = None


def searched(title: str, config: FindConfig) -> Row:
    """A row whose neurons are found by `cones.find`."""
    return Row(title, asdict(config), lambda backbone, subject: find(backbone, subject, config))


def control(title: str, neurons: Callable[..., ConceptNeurons], **settings: Any) -> Row:
    """A row whose neurons know nothing of the subject."""

    def fit(backbone: Backbone, subject: Subject) -> ConceptNeurons:
        return neurons(backbone, SubjectInfo(subject.token, subject.class_noun), **settings)

    return Row(title, {"control": neurons.__name__, **settings}, fit)


def rows() -> dict[str, Row]:
    """All rows, in the order of the table."""
    density = FindConfig().density
    same = partial(FindConfig, density=density)
    return {
        "base": Row("base model (floor)", {"row": "base"}),
        "cones": searched("**concept neurons**, mask in the loop", same()),
        "auto": searched("the same, the density found by itself", FindConfig(density="auto")),
        "text": searched("the same among the text's projections alone", same(layers="text")),
        "flip": searched("flipping in the loop", same(strength_in_loop=2.0)),
        "paper": searched("Algorithm 1 of the paper", same(algorithm="paper", **WALK)),
        "one-pass": searched("one pass of theta * gradient", same(algorithm="one-pass")),
        "cns": Row(
            "weights selected as in CNS, shut",
            {"control": "cns_neurons", "density": density, "seed": 0},
            lambda backbone, subject: cns_neurons(backbone, subject, density, seed=0),
        ),
        "random": control("random weights", random_neurons, density=density, seed=0),
        "largest": control("largest weights", magnitude_neurons, density=density, largest=True),
        "smallest": control("smallest weights", magnitude_neurons, density=density, largest=False),
        "decoded": Row("fresh renders after the model's autoencoder", {"row": "decoded"}),
        "renders": Row("fresh renders (ceiling)", {"row": "renders"}),
    }


def toybox_hash() -> str:
    """A hash of all committed weights: those of toybox-clip score the pictures."""
    return files_hash(sorted(weights("pipeline").parent.rglob("*.safetensors")))


class Evidence:
    """The results of one model, one set of subjects and one number of pictures."""

    def __init__(self, model: str, subjects: Path, num_images: int, cache: Path) -> None:
        """Open the model and list the subjects; nothing is drawn yet.

        Args:
            model: as for the cones command.
            subjects: a folder of their folders.
            num_images: pictures of each prompt.
            cache: the folder of `evidence.jsonl`.
        """
        self.backbone = load_backbone(model, dtype=torch.float32)
        self.folders = sorted(path for path in subjects.iterdir() if path.is_dir())
        self.seeds, self.store = range(num_images), ResultStore(cache / "evidence.jsonl")
        self.fingerprint = fingerprint(projections(self.backbone))
        self.weights = toybox_hash()

    def provenance(self, folder: Path, row: Row) -> dict[str, Any]:
        """All that a result depends on."""
        return {
            "revision": [REVISION, version("cones-diffusion")],
            "model": [self.fingerprint, self.weights],
            "photos": files_hash(sorted(folder.glob("*.png"))),
            "protocol": PROTOCOL.as_dict(),
            "prompts": [*PROMPTS, *GENERAL_PROMPTS],
            "seeds": list(self.seeds),
            "settings": row.settings,
        }

    def key(self, folder: Path, row: Row) -> str:
        """The key of a result."""
        return result_key(folder.name, self.provenance(folder, row))

    def results(self) -> dict[str, list[Result]]:
        """Row -> its results that are done, by subject."""
        found = {
            name: [self.store.get(self.key(folder, row)) for folder in self.folders]
            for name, row in rows().items()
        }
        return {name: [result for result in listed if result] for name, listed in found.items()}

    def pictures(self) -> dict[tuple[str, str], list[Image.Image]]:
        """(row, subject) -> the pictures that the report shows."""
        return {
            (name, folder.name): self.store.pictures(self.key(folder, row), SHEET_PROMPTS)
            for name, row in rows().items()
            for folder in self.folders[:SHEET_SUBJECTS]
        }

    def measure(self, folder: Path) -> None:
        """Measure the results of one subject that are not there yet."""
        missing = {
            name: row
            for name, row in rows().items()
            if self.store.get(self.key(folder, row)) is None
        }
        if not missing:
            return
        subject = Subject.from_folder(folder, folder.name.partition("-")[0])
        info = SubjectInfo(subject.token, subject.class_noun)
        evaluator = Evaluator(self.backbone, [info], [folder], seeds=self.seeds, protocol=PROTOCOL)
        for name, row in missing.items():
            result, pictures = self._result(evaluator, subject, name, row)
            result |= {"row": name, "subject": folder.name, "threads": torch.get_num_threads()}
            shown = folder in self.folders[:SHEET_SUBJECTS]
            drawn = pictures[:: len(self.seeds)][:SHEET_PROMPTS] if shown else []
            key, provenance = self.key(folder, row), self.provenance(folder, row)
            self.store.put(key, result, provenance, drawn)
            told = f"{folder.name}: {name}, image alignment {result['image_alignment']:.3f}"
            print(told, flush=True)

    def _result(
        self, evaluator: Evaluator, subject: Subject, name: str, row: Row
    ) -> tuple[Result, list[Image.Image]]:
        if row.fit is None:
            return _bound(evaluator, name)
        start = time.perf_counter()
        neurons = row.fit(self.backbone, subject)
        seconds = time.perf_counter() - start
        evaluation = evaluator.evaluate(neurons)
        kept = (
            "text_alignment",
            "image_alignment",
            "share",
            "drift",
            "density",
            "bytes",
            "strength",
        )
        found = evaluation.as_dict()
        return {key: found[key] for key in kept} | {"seconds": seconds}, list(evaluation.pictures)


def _bound(evaluator: Evaluator, name: str) -> tuple[Result, list[Image.Image]]:
    """What the base model draws, the ceiling, or the ceiling's pictures as the model can draw."""
    if evaluator.renders is None or evaluator.ceiling is None:
        raise SystemExit("evidence: expected test subjects with a metadata.jsonl of the toybox")
    pictures = {
        "base": lambda: evaluator.base_pictures,
        "decoded": lambda: decoded(evaluator.backbone, evaluator.renders),
        "renders": lambda: evaluator.renders,
    }[name]()
    scores = evaluator.floor if name == "base" else evaluator.score(pictures)
    own: Result = {"share": share(scores, evaluator.floor, evaluator.ceiling)}
    own["drift"] = 0.0 if name == "base" else None
    none = {"density": None, "bytes": None, "strength": None, "seconds": None}
    return {**scores.as_dict(), **own, **none}, pictures


def main() -> None:
    """Parse the command line, measure, and write the report when every result is there."""
    parser = arguments("evidence", __doc__, "evidence.md and evidence.png", SUBJECTS)
    parser.add_argument("--num_images", type=int, default=4, help="pictures of each prompt")
    args = parser.parse_args()
    evidence = Evidence(args.model, args.subjects, args.num_images, args.cache)
    first, every = args.split
    for folder in evidence.folders[first::every]:
        evidence.measure(folder)
    done = evidence.results()
    missing = sum(len(evidence.folders) - len(found) for found in done.values())
    if not complete(missing):
        return
    titles = {name: row.title for name, row in rows().items()}
    write_report(args.out, titles, done, evidence.pictures(), args.num_images, PROTOCOL)


if __name__ == "__main__":
    main()
