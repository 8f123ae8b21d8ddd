"""A probe's record in the terminal."""

from __future__ import annotations

from rich.table import Table

from equiloss.records.probe import ProbeRecord


def table(record: ProbeRecord) -> Table:
    """All measures with their standard errors."""
    shown = Table(title=record.checkpoint.path, title_justify="left")
    for heading in ("probe", "measure"):
        shown.add_column(heading)
    for heading in ("value", "standard error"):
        shown.add_column(heading, justify="right")
    shown.add_column("unit")
    for name, measure in record.measures.items():
        error = "" if measure.standard_error is None else f"{measure.standard_error:.3g}"
        shown.add_row(*name.split(".", 1), f"{measure.value:.4g}", error, measure.unit)
    return shown
