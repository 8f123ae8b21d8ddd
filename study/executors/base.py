"""What every executor can do: run jobs side by side, report how each ended, and stop them as Ctrl-C would."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

GRACE_S = 30.0
"""How long an interrupted command may take to put its state away before it is killed."""


@dataclass(frozen=True)
class Job:
    """One command to run: where, with what added to the environment, and the files for its stdout and stderr."""

    name: str
    command: tuple[str, ...]
    directory: Path
    stdout: Path
    stderr: Path
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    slots: int = 1


@dataclass(frozen=True)
class JobEnd:
    """How a job ended. `lost`: it was killed from outside, or its machine went away; it may be tried again."""

    returncode: int
    seconds_s: float
    lost: bool = False
    why: str = ""


class Executor(Protocol):
    """Runs jobs side by side; the caller decides how many."""

    def submit(self, job: Job) -> Future[JobEnd]:
        """Start a job and return at once."""
        ...

    def interrupt(self) -> None:
        """Ask all running jobs to stop, as Ctrl-C would; they end within `GRACE_S`."""
        ...

    def close(self) -> None:
        """End what still runs and free what the executor holds."""
        ...
