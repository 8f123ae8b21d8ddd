"""How far a program is: a bar with its figures where stderr is a terminal, a line now and then where it is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from equiloss.console import err, say
from equiloss.numerals import duration, learning_rate, number
from equiloss.redaction import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

REDRAW_S = 0.25
LINE_S = 15.0


class ProgressBar:
    """Shows `done` of `total` of a `unit`, with the time left, and a row for every part that runs. A context manager.

    Without a `total` only the figures are shown. With `quiet` nothing is shown, and no bar where all is done already.
    What is not `kept` goes away at the end. It costs nothing between redraws, and no thread.
    """

    def __init__(
        self, name: str, total: int | None, done: int = 0, *, unit: str = "", kept: bool = False, quiet: bool = False
    ) -> None:
        self._name, self._total, self._done, self._unit = name, total, done, unit
        self._kept, self._quiet = kept, quiet
        self._figures: tuple[str, ...] = ()
        self._shown_s = time.monotonic()
        self._origin: tuple[int, float] | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._parts: dict[str, tuple[TaskID, float, Callable[[], str]]] = {}

    def __enter__(self) -> Self:
        if not self._quiet and self._done != self._total and err().is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn
            from rich.table import Column

            name = TextColumn("{task.description}", markup=False)
            text = TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True))
            self._bar = Progress(name, BarColumn(24), text, console=err(), auto_refresh=False, transient=not self._kept)
            self._task = self._bar.add_task(visible(self._name), total=self._total, completed=self._done, text="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._draw()
            self._bar.stop()
            self._bar = None

    @property
    def done(self) -> int:
        """How many are done."""
        return self._done

    @property
    def live(self) -> bool:
        """Whether there is a bar: a program may say in lines what it would show."""
        return self._bar is not None

    @property
    def per_s(self) -> float | None:
        """How many were done in a second since the first update, which may have waited for a compiler."""
        if self._origin is None or self._done == self._origin[0]:
            return None
        return (self._done - self._origin[0]) / max(time.monotonic() - self._origin[1], 1e-9)

    def update(self, done: int, *figures: str) -> None:
        """So much is done; `figures` ("loss 3.2") are shown beside it."""
        self._done, self._figures = done, figures
        self._origin = self._origin or (done, time.monotonic())
        if self._due(self._kept and done == self._total):
            if self._bar is not None:
                self._draw()
            else:
                count = "" if self._total is None else f"{self._unit} {done}/{self._total}: "
                self.line(f"{self._name}: {count}{', '.join(self._texts())}".removesuffix(": "))

    def advance(self, *_: object) -> None:
        """One more is done."""
        self.update(self._done + 1)

    def redraw(self) -> None:
        """Bring the bar up to date, if there is one: for parts whose notes change by themselves."""
        if self._bar is not None and self._due():
            self._draw()

    def begin(self, part: str, note: Callable[[], str] = str) -> None:
        """A part starts to run; `note` says what it is at."""
        if self._bar is not None:
            self._parts[part] = (self._bar.add_task(visible(part), total=None, text=""), time.monotonic(), note)

    def end(self, part: str) -> None:
        """A part runs no more."""
        if self._bar is not None and part in self._parts:
            self._bar.remove_task(self._parts.pop(part)[0])

    def line(self, message: str) -> None:
        """A line that stays, above the bar."""
        if not self._quiet:
            self._shown_s = time.monotonic()
            say(message)

    def _due(self, last: bool = False) -> bool:
        now_s = time.monotonic()
        if self._quiet or (not last and now_s - self._shown_s < (REDRAW_S if self._bar else LINE_S)):
            return False
        self._shown_s = now_s
        return True

    def _texts(self) -> list[str]:
        if self._total in (None, self._done) or self.per_s is None:
            return list(self._figures)
        return [*self._figures, f"ETA {duration((self._total - self._done) / self.per_s)}"]

    def _draw(self) -> None:
        assert self._bar is not None
        assert self._task is not None
        count = [] if self._total is None else [f"{self._done}/{self._total}"]
        self._bar.update(self._task, completed=self._done, text="  ".join([*count, *self._texts()]))
        for task, start_s, note in self._parts.values():
            self._bar.update(task, text=f"{duration(time.monotonic() - start_s)}  {visible(note())}")
        self._bar.refresh()


def training_figures(loss: float, lr: float, tokens_per_s: float) -> tuple[str, str, str]:
    """What a bar of a training shows beside the steps."""
    return f"loss {number(loss, 4)}", f"lr {learning_rate(lr)}", f"{number(tokens_per_s, 0)} tokens/s"


@contextmanager
def counting(name: str, unit: str) -> Generator[Callable[[int, int], None]]:
    """Counts documents and `unit`s, with the speed, where nobody knows how many there are."""
    start_s = time.monotonic()
    with ProgressBar(name, None) as progress:

        def show(documents: int, count: int) -> None:
            speed = count / max(time.monotonic() - start_s, 1e-9)
            progress.update(count, f"{documents:,} documents", f"{count:,} {unit}", f"{number(speed, 0)} {unit}/s")

        yield show
