"""`study run` from its flags to its exit code."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from equiloss import console
from equiloss.errors import IncompleteError
from study import graph, runner, spec
from study.cli import run_output
from study.executors.base import Executor
from study.executors.local import LocalExecutor


def execute(
    file: Path,
    directory: Path | None,
    jobs: int | None,
    engine: tuple[str, str | None],
    only: Sequence[str],
    again: Sequence[str],
    dry_run: bool,
    sets: Sequence[str],
    as_json: bool,
) -> None:
    """Plan a study and run it, or show the plan.

    Raises: InputError for a mistake in the study; IncompleteError when cells failed.
    """
    study = spec.read(file, sets)
    if only:
        study = dataclasses.replace(study, cells=graph.only(study.cells, only))
    directory = directory or Path(study.name)
    runner.check_inputs(study, directory)
    if dry_run:
        _preview(study, directory, again, as_json)
        return
    jobs = jobs or runner.default_jobs(study)
    console.say(f"{study.name}: {len(study.cells)} cells in {directory}, {jobs} at a time")
    result = runner.run(study, directory, jobs=jobs, executor=_executor(*engine), again=again)
    if as_json:
        console.emit_json(run_output.document(result))
    elif text := run_output.text(result):
        print(text)
    if not result.complete:
        failed = [name for name, state in result.states.items() if state == "failed"]
        blocked = sum(state == "blocked" for state in result.states.values())
        raise IncompleteError(
            f"{len(failed)} of {len(study.cells)} cells failed ({', '.join(failed[:5])})"
            + (f", {blocked} more wait for them" if blocked else ""),
            f"see {os.path.relpath(directory / 'logs')}; the same command runs what is left",
        )


def _executor(name: str, address: str | None) -> Executor:
    if name == "ray":
        from study.executors.ray_cluster import RayExecutor

        return RayExecutor(address)
    return LocalExecutor()


def _preview(study: graph.Study, directory: Path, again: Sequence[str], as_json: bool) -> None:
    rows = runner.preview(study, directory, again)
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
            for cell, why in rows
        ]
        console.emit_json({"study": study.name, "directory": str(directory), "dry_run": True, "cells": cells})
        return
    for cell, why in rows:
        print(f"{cell.name}  [{'runs: ' + why if why else 'finished'}]\n    {cell.command}")
    console.say(f"{sum(bool(why) for _, why in rows)} of {len(rows)} cells would run")
