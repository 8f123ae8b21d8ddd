"""docs/diagnosis.md: the zoo's counts are those of the files in docs/zoo, pooled by the commit that froze the rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from equiloss.numerals import percent
from equiloss.records.file_record import read
from study.zoo.counting import Counted, ZooCount, pool

DOCS = Path(__file__).resolve().parents[2] / "docs"
FROZEN = sorted(path for path in (DOCS / "zoo").iterdir() if path.is_dir())
"""A folder for each commit that froze the rule and the pairs, called as it; in it what was counted under it."""


def row(one: Counted) -> str:
    rate, pairs = one.rate, one.pairs
    value = f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)})"
    return f"| {one.says} | {rate.count} of {rate.of} | {value} | {pairs.count} of {pairs.of} |"


@pytest.mark.parametrize("folder", FROZEN, ids=lambda path: path.name)
def test_the_table_is_that_of_the_counted_worlds(folder: Path) -> None:
    zoo = pool([folder])
    assert all(run.named is not None for run in zoo.runs)
    assert min(run.seed for run in zoo.runs) >= 100
    for path in folder.glob("*.json"):
        assert (read(ZooCount, path, "").provenance.git_commit or "").startswith(folder.name)
    table = "\n".join(row(one) for one in zoo.counts if one.rate.of)
    assert table in (DOCS / "diagnosis.md").read_text(encoding="utf-8"), f"it is\n{table}"


def test_no_world_is_counted_under_two_rules() -> None:
    opened = [{run.seed for run in pool([folder]).runs} for folder in FROZEN]
    assert sum(map(len, opened)) == len(set().union(*opened))
