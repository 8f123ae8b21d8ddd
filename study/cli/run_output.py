"""What a study says before and after it runs: the plan; the output of the cells meant to be shown, and the files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from equiloss import console
from study import runner
from study.graph import Study
from study.runner import StudyResult


def emit_plan(study: Study, directory: Path, again: Sequence[str], *, as_json: bool) -> None:
    """Print the cells in order, and why each would run."""
    plan = runner.preview(study, directory, again)
    if as_json:
        cells = [
            {
                "name": cell.name,
                "why": why,
                "command": cell.command,
                "inputs": list(cell.inputs),
                "outputs": list(cell.outputs),
                "needs": list(cell.needs),
            }
            for cell, why in plan
        ]
        console.emit_json({"study": study.name, "directory": str(directory), "dry_run": True, "cells": cells})
        return
    for cell, why in plan:
        print(f"{cell.name}  [{'runs: ' + why if why else 'finished'}]\n    {cell.command}")
    console.say(f"{sum(bool(why) for _, why in plan)} of {len(plan)} cells would run")


def emit_result(result: StudyResult, *, as_json: bool) -> None:
    """Print what the study was run for: its document, or what was shown and where the report is."""
    if as_json:
        console.emit_json(document(result))
    elif text := closing(result):
        print(text)


def document(result: StudyResult) -> dict[str, object]:
    """The result as `study run --json` prints it."""
    return {
        "study": result.study.name,
        "directory": str(result.directory),
        "complete": result.complete,
        "cells": [
            {
                "name": cell.name,
                "state": result.states.get(cell.name, "waiting"),
                "note": result.notes.get(cell.name, ""),
                "seconds_s": result.seconds_s.get(cell.name),
                "command": cell.command,
                "outputs": list(cell.outputs),
                "log": str(result.directory / "logs" / f"{cell.name}.log"),
            }
            for cell in result.study.cells
        ],
        "shown": shown(result),
        "closing": [str(result.directory / path) for path in _files(result)],
    }


def shown(result: StudyResult) -> dict[str, str]:
    """The stdout of every finished cell marked `show`."""
    texts: dict[str, str] = {}
    for cell in result.study.cells:
        path = result.directory / "logs" / f"{cell.name}.out"
        if cell.show and result.states.get(cell.name) in ("done", "skipped") and path.exists():
            texts[cell.name] = path.read_text(encoding="utf-8", errors="replace")
    return texts


def closing(result: StudyResult) -> str:
    """The closing text: what was shown, then the files; the HTML report's path is the very last line."""
    parts = [body.rstrip("\n") for body in shown(result).values()]
    parts += [os.path.relpath(result.directory / path) for path in _files(result)]
    return "\n".join(parts)


def _files(result: StudyResult) -> list[Path]:
    """The files of `[study] closing` that exist, pages last."""
    paths = [Path(item) for item in result.study.closing]
    existing = [path for path in paths if (result.directory / path).exists()]
    return sorted(existing, key=lambda path: path.suffix == ".html")
