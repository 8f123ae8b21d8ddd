"""A probe's record in the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def table(document: dict[str, Any]) -> Table:
    """All measures with their standard errors."""
    shown = Table(title=document["checkpoint"]["path"], title_justify="left")
    for heading in ("probe", "measure"):
        shown.add_column(heading)
    for heading in ("value", "standard error"):
        shown.add_column(heading, justify="right")
    shown.add_column("unit")
    for probe, found in document["probes"].items():
        for name, one in found["measures"].items():
            error = "" if one["standard_error"] is None else f"{one['standard_error']:.3g}"
            shown.add_row(probe, name, f"{one['value']:.4g}", error, one["unit"])
    return shown
