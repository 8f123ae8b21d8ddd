"""`pretrain compare`: several runs in one table and one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from equiloss import console
from equiloss.cli import claim_outputs
from equiloss.numerals import duration, number, percent
from pretrain.training import page as report
from pretrain.training.page import RunSummary


def compare(directories: Sequence[Path], output: Path | None, as_json: bool) -> None:
    """Write the page and print a table for each data, or with `as_json` {page, runs, differences, comparable}.

    Raises: InputError when a directory is no run, or is named twice.
    """
    runs = [report.load(directory) for directory in directories]
    names = report.labels(runs)
    page = output or Path(os.path.commonpath([d.resolve().parent for d in directories])) / "compare.html"
    claim_outputs(page)
    report.compare(runs, page)
    summaries = [run.summary(name) for run, name in zip(runs, names, strict=True)]
    differences = report.differing(runs)
    if as_json:
        console.emit_json(
            {"page": str(page), "runs": summaries, "differences": differences, "comparable": "data" not in differences}
        )
        return
    headings = ("run", "steps", "training loss", "validation loss", "lowest", "clipped", "tokens/s", "time")
    by_data: dict[object, list[tuple[str, ...]]] = {}
    for run, row in zip(runs, summaries, strict=True):
        cells = (row.run + ("" if row.finished else " (under way)"), *_cells(row))
        by_data.setdefault(run.config["data"], []).append(cells)
    for data, rows in by_data.items():
        title = "" if len(by_data) == 1 else f"data {data or 'not noted'}"
        console.emit_table(console.table(title, "lrrrrrrr", headings, rows))
    if len(by_data) > 1:
        console.warn("the runs read other data: losses of different tables are not of the same text (`pretrain eval`)")
    for key, values in differences.items():
        console.out().print(f"{key}: {_who(names, values)}", markup=False, soft_wrap=True)
    console.say(f"the curves: {os.path.relpath(page)}")


def _who(names: Sequence[str], values: Sequence[object]) -> str:
    """Which runs have which value: `0.001: a, b; 0.002: c`."""
    having: dict[str, list[str]] = {}
    for name, value in zip(names, values, strict=True):
        having.setdefault("none" if value is None else str(value), []).append(name)
    return "; ".join(f"{value} ({', '.join(runs)})" for value, runs in having.items())


def _cells(row: RunSummary) -> list[str]:
    losses = [number(loss, 4) for loss in (row.train_loss, row.validation_loss, row.best_validation_loss)]
    return [f"{row.steps:,}", *losses, percent(row.clipped, 1), number(row.tokens_per_s, 0), duration(row.elapsed_s)]
