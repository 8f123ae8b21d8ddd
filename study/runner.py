"""Run a study: cells as soon as what they need is there, finished ones not again."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.text import Text

from equiloss import console
from equiloss.errors import InputError
from equiloss.files import write_text
from equiloss.numerals import duration
from equiloss.progress import ProgressBar
from study.cache import Asked, Book
from study.executors.local import Engine, Job, LocalEngine, Outcome, Servers, cores, gpus
from study.graph import Cell, Study

RETRIES = 2
"""How often a cell that was killed from outside is started again."""
TAIL_LINES = 15


@dataclass
class Result:
    """How each cell of a study ended: done, skipped (finished before), failed, blocked (needs a failed one)."""

    study: Study
    directory: Path
    states: dict[str, str] = field(default_factory=dict[str, str])
    notes: dict[str, str] = field(default_factory=dict[str, str])
    seconds_s: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def complete(self) -> bool:
        """Whether every cell is finished."""
        return all(state in ("done", "skipped") for state in self.states.values())


def default_jobs(study: Study) -> int:
    """As many cells at once as the file says; else one per CUDA device; else one per core, at most four."""
    return study.jobs or len(gpus()) or min(cores(), 4)


def check_inputs(study: Study, directory: Path) -> None:
    """Refuse a study that reads what no cell makes and what is not there.

    Raises: InputError naming the cell and the input.
    """
    book = Book(directory, study.services)
    made = {output for cell in study.cells for output in cell.outputs}
    for cell in study.cells:
        for path in book.missing(cell):
            inside = any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in made)
            if not inside:
                raise InputError(
                    f"cell {cell.name!r} reads {path}, which no cell writes and which is not there",
                    f"mend the path (it counts from {directory}), or add the cell that writes it",
                )


def preview(study: Study, directory: Path, again: Sequence[str] = ()) -> list[tuple[Cell, str]]:
    """Each cell with why it would run, or "" when it is finished."""
    book = Book(directory, study.services)
    rows: list[tuple[Cell, str]] = []
    running: set[str] = set()
    for cell in study.cells:
        if any(fnmatchcase(cell.name, pattern) for pattern in again):
            why = "asked for"
        elif waits := [name for name in cell.needs if name in running]:
            why = f"after {', '.join(waits[:3])}" + (" …" if len(waits) > 3 else "")
        else:
            why = book.stale(cell, book.asked(cell)) if not book.missing(cell) else "its inputs are missing"
        if why:
            running.add(cell.name)
        rows.append((cell, why))
    return rows


def run(
    study: Study,
    directory: Path,
    *,
    jobs: int,
    engine: Engine | None = None,
    again: Sequence[str] = (),
    retries: int = RETRIES,
) -> Result:
    """Run all cells of a study that are not finished, at most `jobs` at once.

    A failed cell stops only what needs it. Raises: InputError for missing inputs or when the directory is in use;
    KeyboardInterrupt after Ctrl-C or SIGTERM, when all that ran has ended.
    """
    check_inputs(study, directory)
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory), _sigterm_as_interrupt():
        return _Runner(study, directory, jobs, engine or LocalEngine(), again, retries).run()


class _Runner:
    """One pass over a study."""

    def __init__(
        self, study: Study, directory: Path, jobs: int, engine: Engine, again: Sequence[str], retries: int
    ) -> None:
        self.study = study
        self.directory = directory.resolve()
        self.logs = self.directory / "logs"
        self.book = Book(self.directory, study.services)
        self.engine = engine
        self.local: Engine = engine if isinstance(engine, LocalEngine) else LocalEngine()
        self.servers = Servers(self.directory, self.logs)
        self.services = {service.name: service.argv for service in study.services}
        self.again = again
        self.retries = retries
        self.free = list(range(jobs))
        self.jobs = jobs
        self.result = Result(study, directory)
        self.waiting = {cell.name: cell for cell in study.cells}
        self.running: dict[str, tuple[Cell, Asked, int, list[int]]] = {}
        self.show = ProgressBar(study.name, len(study.cells), unit="cell")

    def run(self) -> Result:
        self.logs.mkdir(exist_ok=True)
        try:
            with self.show:
                self._turn()
        except KeyboardInterrupt:
            self._interrupted()
            raise
        finally:
            for engine in {id(e): e for e in (self.engine, self.local)}.values():
                engine.close()
            self.servers.close()
            self.book.save()
        return self.result

    def _turn(self) -> None:
        while self.waiting or self.running:
            while self._start_next():
                pass
            while self.running and not self._collect():
                pass

    def _start_next(self) -> bool:
        """Settle or start one waiting cell; False when none can move."""
        states = self.result.states
        for cell in list(self.waiting.values()) if self.free else []:
            if any(states.get(name) in ("failed", "blocked") for name in cell.needs):
                broken = [name for name in cell.needs if states.get(name) in ("failed", "blocked")]
                self._settle(cell, "blocked", f"needs {broken[0]}")
                return True
            if not all(states.get(name) in ("done", "skipped") for name in cell.needs):
                continue
            if missing := self.book.missing(cell):
                self._settle(cell, "failed", f"its input {missing[0]} is not there")
                return True
            asked = self.book.asked(cell)
            if any(fnmatchcase(cell.name, pattern) for pattern in self.again):
                self.book.forget(cell)
            why = self.book.stale(cell, asked)
            if not why:
                self._settle(cell, "skipped")
                return True
            wanted = self.jobs if cell.slots == 0 else min(cell.slots, self.jobs)
            if wanted <= len(self.free):
                self._start(cell, asked, why, 1, [self.free.pop(0) for _ in range(wanted)])
                return True
            if cell.slots != 1:
                return False  # a wide cell is not starved by narrow ones
        return False

    def _start(self, cell: Cell, asked: Asked, why: str, attempt: int, slots: list[int]) -> None:
        resumed = self.book.cut_short(cell, asked)
        if not resumed:
            self._clear(cell)
        log = self.logs / f"{cell.name}.log"
        log.unlink(missing_ok=True) if attempt == 1 else None
        argv = cell.argv + (cell.resume if resumed else ())
        self.waiting.pop(cell.name, None)
        self.running[cell.name] = (cell, asked, attempt, slots)
        self.show.begin(cell.name, lambda: next(iter(tail(log, 1)), ""))
        if not self.show.live:
            self.show.line(f"{self._settled} {cell.name}: starts" + (f" ({why})" if why else ""))
        try:
            ports = {name: self.servers.port(name, self.services[name]) for name in cell.uses}
        except RuntimeError as error:
            self.running.pop(cell.name)
            self.free += slots
            self._settle(cell, "failed", str(error))
            return
        for name, port in ports.items():
            argv = tuple(word.replace(f"{{{name}.port}}", str(port)) for word in argv)
        self.book.start(cell, asked, attempt)
        job = Job(cell.name, argv, self.directory, self.logs / f"{cell.name}.out", log, self._env(slots), len(slots))
        (self.local if cell.uses or cell.argv[0] == "judge" else self.engine).start(job)

    def _env(self, slots: list[int]) -> dict[str, str]:
        """Threads and devices of a cell's share, so that cells side by side do not fight over them."""
        env: dict[str, str] = {}
        if "OMP_NUM_THREADS" not in os.environ:
            env["OMP_NUM_THREADS"] = str(max(1, cores() * len(slots) // self.jobs))
        if devices := gpus():
            share = [devices[slot % len(devices)] for slot in slots]
            env["CUDA_VISIBLE_DEVICES"] = ",".join(dict.fromkeys(share))
        return env

    def _clear(self, cell: Cell) -> None:
        """Remove what an older command left under this cell's outputs, so that it can never pass for this one's."""
        for path in (*cell.outputs, *cell.clears):
            whole = self.directory / path
            if whole.is_dir() and not whole.is_symlink():
                shutil.rmtree(whole)
            else:
                whole.unlink(missing_ok=True)

    def _collect(self) -> bool:
        """Wait a moment for a cell to end; False when none did."""
        self.show.redraw()
        outcome = self.engine.wait(0.1)
        if outcome is None and self.local is not self.engine:
            outcome = self.local.wait(0.1)
        if outcome is None:
            return False
        cell, asked, attempt, slots = self.running.pop(outcome.name)
        if outcome.lost and attempt <= self.retries:
            self.show.line(f"{cell.name}: {outcome.why}; started again ({attempt} of {self.retries})")
            self._start(cell, asked, "again", attempt + 1, slots)
            return True
        self.free = sorted([*self.free, *slots])
        self._finish(cell, asked, attempt, outcome)
        for name in cell.uses:
            if not any(
                name in other.uses for other in [*self.waiting.values(), *(r[0] for r in self.running.values())]
            ):
                self.servers.end(name)
        return True

    def _finish(self, cell: Cell, asked: Asked, attempt: int, outcome: Outcome) -> None:
        if outcome.returncode == 0 and cell.stdout:
            out = self.logs / f"{cell.name}.out"
            write_text(self.directory / cell.stdout, out.read_text(encoding="utf-8"))
        wrong = self.book.finish(cell, asked, attempt, outcome.returncode, outcome.seconds_s)
        self.result.seconds_s[cell.name] = round(outcome.seconds_s, 3)
        if outcome.returncode == 0 and not wrong:
            self._settle(cell, "done")
            return
        self._settle(cell, "failed", wrong or outcome.why or f"exit code {outcome.returncode}")
        log = self.logs / f"{cell.name}.log"
        rows = tail(log, TAIL_LINES) or tail(self.logs / f"{cell.name}.out", TAIL_LINES)
        self.show.line(f"{cell.name}: {cell.command}")
        for row in rows:
            self.show.line(f"  | {row}")
        self.show.line(f"  all of it: {log}")

    def _settle(self, cell: Cell, state: str, note: str = "") -> None:
        self.waiting.pop(cell.name, None)
        self.result.states[cell.name] = state
        self.result.notes[cell.name] = note
        self.show.end(cell.name)
        if state != "skipped":
            taken = f" in {duration(self.result.seconds_s[cell.name])}" if cell.name in self.result.seconds_s else ""
            self.show.line(f"{self._settled} {cell.name}: {state}{taken}" + (f": {note}" if note else ""))
        self.show.advance()

    @property
    def _settled(self) -> str:
        return f"[{len(self.result.states)}/{len(self.study.cells)}]"

    def _interrupted(self) -> None:
        """End what runs, patiently; a second Ctrl-C kills."""
        if self.running:
            console.say(f"stopping {', '.join(self.running)} (Ctrl-C again: at once)")
        self.engine.interrupt()
        self.local.interrupt()


@contextmanager
def _locked(directory: Path) -> Generator[None]:
    """Hold the study's directory, so that two runs never write into it at once."""
    path = directory / ".study" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{directory}: another `study run` is at work there", "wait for it, or use another directory with -o"
            ) from None
        yield


@contextmanager
def _sigterm_as_interrupt() -> Generator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C while cells run."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup keeps its meaning
                before[number] = signal.signal(number, interrupt)
    except ValueError:
        pass  # not in the main thread: the caller's business
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
