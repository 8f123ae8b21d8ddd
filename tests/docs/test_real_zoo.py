"""docs/diagnosis.md: the rows of pairs on a real model are those of docs/zoo/real.json, where it has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from equiloss.numerals import estimated
from equiloss.records.file_record import read
from study.zoo.counting import PairOutcome, ZooCount

DOCS = Path(__file__).resolve().parents[2] / "docs"
RUNS = read(ZooCount, DOCS / "zoo" / "real.json", "").runs


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.pair)
def test_the_row_of_a_pair_is_what_was_said_of_it(run: PairOutcome) -> None:
    text = (DOCS / "diagnosis.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| `{run.pair}` \| (.+?) \| .+ \| (.+) \|$", text, re.MULTILINE)
    assert found is not None
    assert run.gap is not None
    assert found[1] == estimated(run.gap).replace("95 % interval ", "").replace("−", "-")
    no_gap_shown = not run.gap.excludes(0.0) and not run.listed  # what is right where a difference makes no gap
    assert ("a miss" not in found[2]) == ("right" in found[2]) == (run.right or no_gap_shown)
