"""What `study run` and `study zoo` print about cells: the plan; what cells meant to be shown printed, and the files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from equiloss import console
from study import runner
from study.graph import Study
from study.run_document import closing_files, plan_document, result_document, shown


def emit_plan(study: Study, directory: Path, again: Sequence[str], *, as_json: bool) -> None:
    """Print the cells in order, and why each would run."""
    plan = runner.preview(study, directory, again)
    if as_json:
        console.emit_json(plan_document(study, directory, plan))
        return
    for cell, why in plan:
        console.write(f"{cell.name}  [{'runs: ' + why if why else 'finished'}]\n    {cell.command}")
    console.say(f"{sum(bool(why) for _, why in plan)} of {len(plan)} cells would run")


def emit_result(result: runner.StudyResult, *, as_json: bool) -> None:
    """Print what a study was run for: what its cells show, then its files, the report's path on the very last line."""
    if as_json:
        console.emit_json(result_document(result))
        return
    for text in shown(result).values():
        console.write(text.rstrip("\n"))
    for path in closing_files(result):
        console.write(os.path.relpath(result.directory / path))
