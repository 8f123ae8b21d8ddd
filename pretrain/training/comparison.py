"""`pretrain compare`: several runs in one table and one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from equiloss import console
from equiloss.numerals import duration
from pretrain.training import page as report


def compare(directories: Sequence[Path], output: Path | None, as_json: bool) -> None:
    """Write the page and print the table, or with `as_json` {page, runs: summaries, differences}.

    Raises: InputError when a directory is no run, or is named twice.
    """
    runs = [report.load(directory) for directory in directories]
    names = report.labels(runs)
    page = output or Path(os.path.commonpath([d.resolve().parent for d in directories])) / "compare.html"
    report.compare(runs, page)
    summaries = [{**run.summary(), "run": name} for run, name in zip(runs, names, strict=True)]
    differences = report.differing(runs)
    if as_json:
        console.emit_json({"page": str(page), "runs": summaries, "differences": differences})
        return
    table = Table("run")
    for heading in ("steps", "training loss", "validation loss", "lowest", "clipped", "tokens/s", "time"):
        table.add_column(heading, justify="right")
    for row in summaries:
        table.add_row(row["run"] + ("" if row["finished"] else " (under way)"), *_cells(row))
    console.emit_table(table)
    for key, values in differences.items():
        console.out().print(f"{key}: {_who(names, values)}", markup=False, soft_wrap=True)
    console.say(f"the curves: {os.path.relpath(page)}")


def _who(names: Sequence[str], values: Sequence[Any]) -> str:
    """Which runs have which value: `0.001: a, b; 0.002: c`."""
    having: dict[str, list[str]] = {}
    for name, value in zip(names, values, strict=True):
        having.setdefault("none" if value is None else str(value), []).append(name)
    return "; ".join(f"{value} ({', '.join(runs)})" for value, runs in having.items())


def _cells(row: dict[str, Any]) -> list[str]:
    def number(key: str, form: str) -> str:
        return "–" if row[key] is None else format(row[key], form)

    return [
        f"{row['steps']:,}",
        number("train_loss", ".4f"),
        number("validation_loss", ".4f"),
        number("best_validation_loss", ".4f"),
        number("clipped", ".1%"),
        number("tokens_per_s", ",.0f"),
        duration(row["elapsed_s"]),
    ]
