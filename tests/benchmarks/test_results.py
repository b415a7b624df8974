"""The record under benchmarks/results: what the tables in docs/ are made from."""

import json
from pathlib import Path

import pytest

from benchmarks.command import RESULTS
from cones.comparison.store import ResultStore, result_key
from cones.comparison.table import rows

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.name)
def test_every_result_tells_what_its_key_was_made_of(path: Path) -> None:
    results = ResultStore(path).results()
    assert len(results) == path.read_bytes().count(b"\n")
    for key, result in results.items():
        assert key == result_key(key.rpartition("-")[0], result["provenance"])


def test_the_table_is_made_from_its_results() -> None:
    table = json.loads((DOCS / "table.json").read_text())
    listed = [*table["cells"], *table["ceiling"]]
    results = [
        result
        for result in ResultStore(RESULTS / "table.jsonl").results().values()
        if all(result["provenance"][key] == table[key] for key in ("protocol", "model"))
    ]
    found = rows(results, {row["subjects"]: row["planned"] for row in listed})
    assert len(found) == len(listed)
    for row in listed:
        (again,) = (
            each
            for each in found
            if (each["subjects"], each["method"]) == (row["subjects"], row["method"])
        )
        assert again == pytest.approx(row)
