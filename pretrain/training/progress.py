"""How a run looks from the terminal: a bar with loss, learning rate, tokens/s and ETA, or plain lines."""

from __future__ import annotations

import time
from typing import Any

from equiloss.console import err, say

REDRAW_S = 0.25
LINE_S = 15.0


class Display:
    """Shows the progress of `steps` steps on stderr; costs nothing between redraws."""

    def __init__(self, name: str, steps: int, done: int, enabled: bool = True) -> None:
        self.name, self.steps, self.enabled = name, steps, enabled
        self.bar: Any = None
        self.last = time.monotonic()
        if enabled and err().is_terminal:
            self.bar = _bar()
            self.task = self.bar.add_task(name, total=steps, completed=done, loss="", lr="", speed="", left="")
            self.bar.start()

    def update(self, step: int, loss: float, lr: float, tokens_per_s: float, eta_s: float) -> None:
        """Show a logged step."""
        now = time.monotonic()
        if not self.enabled or (now - self.last < (REDRAW_S if self.bar else LINE_S) and step < self.steps):
            return
        self.last = now
        if self.bar:
            self.bar.update(
                self.task,
                completed=step,
                loss=f"{loss:.4f}",
                lr=f"{lr:.2e}",
                speed=f"{tokens_per_s:,.0f}",
                left=duration(eta_s),
            )
            self.bar.refresh()
        else:
            self.line(
                f"step {step}/{self.steps}: loss {loss:.4f}, lr {lr:.2e}, {tokens_per_s:,.0f} tokens/s, "
                f"ETA {duration(eta_s)}"
            )

    def line(self, message: str) -> None:
        """A line that stays."""
        if self.enabled:
            say(f"{self.name}: {message}")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar:
            self.bar.refresh()
            self.bar.stop()


def _bar() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  lr {task.fields[lr]}  {task.fields[speed]} tokens/s"),
        TextColumn("ETA {task.fields[left]}"),
        console=err(),
        auto_refresh=False,
    )


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 42 s, 3:07, 1:02:05, 3 d 04:05."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{rest:02d}"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d}:{minutes:02d}" if days else f"{hours}:{minutes:02d}:{rest:02d}"
