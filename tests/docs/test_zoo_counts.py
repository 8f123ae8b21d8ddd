"""docs/diagnosis.md: the zoo's counts are those of the files in docs/zoo, pooled."""

from __future__ import annotations

from pathlib import Path

from equiloss.numerals import percent
from equiloss.records.file_record import read
from study.zoo.counting import Counted, ZooCount, pool

DOCS = Path(__file__).resolve().parents[2] / "docs"
FROZEN = "57194aff722436a5e04aaa83785548151d636641"
"""The commit that freezes the rule and the pairs."""
FILES = sorted((DOCS / "zoo").glob("*.json"))


def row(one: Counted) -> str:
    rate, pairs = one.rate, one.pairs
    value = f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)})"
    return f"| {one.says} | {rate.count} of {rate.of} | {value} | {pairs.count} of {pairs.of} |"


def test_the_table_is_that_of_the_counted_worlds() -> None:
    zoo = pool(FILES)
    assert {read(ZooCount, path, "").provenance.git_commit for path in FILES} == {FROZEN}
    assert all(run.named is not None for run in zoo.runs)
    assert min(run.seed for run in zoo.runs) >= 100
    table = "\n".join(row(one) for one in zoo.counts if one.rate.of)
    assert table in (DOCS / "diagnosis.md").read_text(encoding="utf-8"), f"it is\n{table}"
