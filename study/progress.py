"""What a running study shows: a live table on a terminal, a line per event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from equiloss import console

_STYLE = {"done": "green", "skipped": "dim", "failed": "red", "blocked": "yellow", "running": "cyan"}
_ROWS = 24


class Progress:
    """The states of cells over time. Use it as a context manager around the run."""

    def __init__(self, names: Sequence[str]) -> None:
        self._state = dict.fromkeys(names, "waiting")
        self._note = dict.fromkeys(names, "")
        self._log: dict[str, Path] = {}
        self._since_s: dict[str, float] = {}
        self._taken_s: dict[str, float] = {}
        self._live = (
            Live(console=console.err(), refresh_per_second=4, get_renderable=self._render, transient=False)
            if console.err().is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def start(self, name: str, log: Path, why: str) -> None:
        """A cell starts; `why` it has to."""
        self._state[name] = "running"
        self._log[name] = log
        self._since_s[name] = time.monotonic()
        self._say(f"[{self._counts()}] {name}: starts" + (f" ({why})" if why else ""))

    def end(self, name: str, state: str, note: str = "") -> None:
        """A cell is done, skipped, failed or blocked."""
        taken_s = time.monotonic() - self._since_s[name] if name in self._since_s else 0.0
        self._taken_s[name] = taken_s
        self._state[name] = state
        self._note[name] = note
        if state != "skipped":
            time_taken = f" in {_clock(taken_s)}" if taken_s else ""
            self._say(f"[{self._counts()}] {name}: {state}{time_taken}" + (f": {note}" if note else ""))

    def say(self, message: str) -> None:
        """A message above the table."""
        console.say(message)

    def _say(self, message: str) -> None:
        if not self._live:
            console.say(message)

    def _counts(self) -> str:
        over = sum(state not in ("waiting", "running") for state in self._state.values())
        return f"{over}/{len(self._state)}"

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 1), show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
        for name in self._shown():
            state = self._state[name]
            taken_s = time.monotonic() - self._since_s[name] if state == "running" else self._taken_s.get(name, 0.0)
            note = _last_line(self._log[name]) if state == "running" else self._note[name]
            clock = _clock(taken_s) if taken_s else ""
            table.add_row(Text(name), Text(state, style=_STYLE.get(state, "")), clock, Text(note, style="dim"))
        tally = ", ".join(
            f"{sum(s == state for s in self._state.values())} {state}"
            for state in ("running", "waiting", "done", "skipped", "failed", "blocked")
            if state in self._state.values()
        )
        return Group(table, Text(f"{len(self._state)} cells: {tally}", style="bold"))

    def _shown(self) -> list[str]:
        """All cells when they fit; else those that run or failed, then the latest that ended."""
        names = list(self._state)
        if len(names) <= _ROWS:
            return names
        loud = [name for name in names if self._state[name] in ("running", "failed")]
        ended = sorted((n for n in names if self._state[n] == "done"), key=lambda n: self._since_s.get(n, 0.0))
        room = max(0, _ROWS - len(loud))
        keep = {*loud, *(ended[-room:] if room else [])}
        return [name for name in names if name in keep]


def _clock(seconds_s: float) -> str:
    if seconds_s < 60:
        return f"{seconds_s:.1f} s"
    minutes, rest = divmod(int(seconds_s), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d} min"


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log; a progress bar's carriage returns count as line ends. Empty when there is none."""
    try:
        with path.open("rb") as f:
            f.seek(0, 2)
            f.seek(max(0, f.tell() - 16_384))
            text = f.read().decode(errors="replace")
    except OSError:
        return []
    rows = [row.rstrip() for row in text.replace("\r", "\n").split("\n") if row.strip()]
    return [Text.from_ansi(row).plain for row in rows[-lines:]]


def _last_line(path: Path) -> str:
    rows = tail(path, 1)
    return rows[0] if rows else ""
