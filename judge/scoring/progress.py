"""A progress bar on stderr, where that is a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from equiloss import console

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress:
    """Shows how many requests are settled, with the time left. Silent when stderr is not a terminal."""

    def __init__(self, name: str, total: int, done: int) -> None:
        self._name, self._total, self._done = name, total, done
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._shown_at = 0.0

    def __enter__(self) -> Progress:
        if console.err().is_terminal and self._total > self._done:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=console.err(), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=self._total, completed=self._done)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, sha: str) -> None:  # noqa: ARG002
        """One more request is settled."""
        self._done += 1
        now = time.monotonic()
        if self._bar is not None and self._task is not None and now - self._shown_at > 0.1:
            self._bar.update(self._task, completed=self._done)
            self._shown_at = now

    def say(self, message: str) -> None:
        """A line above the bar."""
        console.say(message)
