"""A probe's record in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiloss import console
from equiloss.records.probe import ProbeRecord

if TYPE_CHECKING:
    from rich.table import Table


def table(record: ProbeRecord) -> Table:
    """All measures with their standard errors."""
    rows: list[tuple[str, ...]] = []
    for name, measure in record.measures.items():
        error = "" if measure.standard_error is None else f"{measure.standard_error:.3g}"
        rows.append((*name.split(".", 1), f"{measure.value:.4g}", error, measure.unit))
    headings = ("probe", "measure", "value", "standard error", "unit")
    return console.table(record.checkpoint.path, "llrrl", headings, rows)
