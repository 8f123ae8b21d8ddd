"""What a study says for programs, before and after it runs: the documents of `study run --json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study.graph import Cell, Study
from study.runner import StudyResult


def plan_document(study: Study, directory: Path, plan: Sequence[tuple[Cell, str]]) -> dict[str, object]:
    """The cells in order and why each would run, as `--dry-run --json` prints them."""
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
    return {"study": study.name, "directory": str(directory), "dry_run": True, "cells": cells}


def result_document(result: StudyResult) -> dict[str, object]:
    """How every cell ended, what was shown, and the files of the closing."""
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
        "closing": [str(result.directory / path) for path in closing_files(result)],
    }


def shown(result: StudyResult) -> dict[str, str]:
    """The stdout of every finished cell marked `show`."""
    texts: dict[str, str] = {}
    for cell in result.study.cells:
        path = result.directory / "logs" / f"{cell.name}.out"
        if cell.show and result.states.get(cell.name) in ("done", "skipped") and path.exists():
            texts[cell.name] = path.read_text(encoding="utf-8", errors="replace")
    return texts


def closing_files(result: StudyResult) -> list[Path]:
    """The files of `[study] closing` that exist, pages last; relative to the directory."""
    paths = [Path(item) for item in result.study.closing]
    existing = [path for path in paths if (result.directory / path).exists()]
    return sorted(existing, key=lambda path: path.suffix == ".html")
