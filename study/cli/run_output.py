"""What a study says when it is over: the output of the cells meant to be shown, the files, the report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from study.runner import StudyResult


def document(result: StudyResult) -> dict[str, Any]:
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


def text(result: StudyResult) -> str:
    """The closing text: what was shown, then the files; the HTML report's path is the very last line."""
    parts = [body.rstrip("\n") for body in shown(result).values()]
    parts += [os.path.relpath(result.directory / path) for path in _files(result)]
    return "\n".join(parts)


def _files(result: StudyResult) -> list[Path]:
    """The files of `[study] closing` that exist, pages last."""
    paths = [Path(item) for item in result.study.closing]
    there = [path for path in paths if (result.directory / path).exists()]
    return sorted(there, key=lambda path: path.suffix == ".html")
