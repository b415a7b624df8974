"""Fixtures of the comparison: a small tree of subjects, and methods of a few steps."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cones.comparison import entries
from cones.evaluation import Evaluator
from cones.methods.registry import METHODS
from cones.search.config import FindConfig, TuneConfig
from cones.toybox.render import look_from_seed, render_subject, save_subject


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for seed, name in enumerate(("mug-1", "robot-1"), start=5):
        rendered = render_subject(name.partition("-")[0], look_from_seed(seed), 2, seed)
        save_subject(rendered, tmp_path / "subjects" / name)
    return tmp_path / "subjects"


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, int]]]:
    """Every method in a step or two; counts the fits of each with how many subjects."""
    few: dict[str, Any] = {"steps": 2, "batch": 2, "prior_batch": 1, "prior_images": 1}
    configs = {
        **{name: replace(method.defaults, **few) for name, method in METHODS.items()},
        "textual_inversion": replace(METHODS["textual_inversion"].defaults, steps=2, batch=1),
        "cones": FindConfig(density=0.1, **few),
    }
    monkeypatch.setattr(entries, "TUNING", TuneConfig(rate=0.1, **few))
    monkeypatch.setattr(sys.modules[Evaluator.__module__], "GENERAL_PROMPTS", ("a {}",))
    counts: Counter[tuple[str, int]] = Counter()

    def counted(method: str, fit: Any) -> Any:
        def counting(backbone: Any, subjects: Any, *rest: Any) -> Any:
            counts[method, len(subjects)] += 1
            return fit(backbone, subjects, *rest)

        return counting

    for name, method in METHODS.items():
        quick = replace(method, defaults=configs[name], fit=counted(name, method.fit))
        monkeypatch.setitem(METHODS, name, quick)
    yield counts
