"""A probe's record in the terminal."""

from __future__ import annotations

from rich.table import Table

from equiloss import console
from equiloss.numerals import significant
from equiloss.records.probe import ProbeRecord


def table(record: ProbeRecord) -> Table:
    """All measures with their standard errors."""
    rows = [
        (*name.split(".", 1), significant(measure.value, 4), significant(measure.standard_error), measure.unit)
        for name, measure in record.measures.items()
    ]
    headings = ("probe", "measure", "value", "standard error", "unit")
    return console.table(record.checkpoint.path, "llrrl", headings, rows)
