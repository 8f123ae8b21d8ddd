"""Run a study: cells as soon as what they need is there, finished ones not again."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from rich.text import Text

from equiloss import console
from equiloss.errors import IncompleteError, InputError
from equiloss.files import claim, locked, write_text
from equiloss.numerals import duration
from equiloss.progress import ProgressBar
from equiloss.redaction import scrub
from study.cache import CacheKey, CellCache
from study.executors.base import Executor, Job, JobEnd
from study.executors.local import LocalExecutor
from study.executors.resources import cores, gpus
from study.executors.services import ServicePool
from study.graph import Cell, Study, makers

RETRIES = 2
"""How often a cell that was killed from outside is started again."""
TAIL_LINES = 15
FINISHED, BROKEN = ("done", "skipped"), ("failed", "blocked")


@dataclass
class StudyResult:
    """How each cell of a study ended: done, skipped (finished before), failed, blocked (needs a failed one)."""

    study: Study
    directory: Path
    states: dict[str, str] = field(default_factory=dict[str, str])
    notes: dict[str, str] = field(default_factory=dict[str, str])
    seconds_s: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def complete(self) -> bool:
        """Whether every cell is finished."""
        return all(state in FINISHED for state in self.states.values())

    def require_complete(self) -> None:
        """Raises: IncompleteError when a cell is not finished."""
        if self.complete:
            return
        failed = [name for name, state in self.states.items() if state == "failed"]
        blocked = sum(state == "blocked" for state in self.states.values())
        raise IncompleteError(
            f"{len(failed)} of {len(self.study.cells)} cells failed ({', '.join(failed[:5])})"
            + (f", {blocked} more wait for them" if blocked else ""),
            f"see {os.path.relpath(self.directory / 'logs')}; the same command runs what is left",
        )


def default_jobs(study: Study) -> int:
    """As many cells at once as the file says; else one per CUDA device; else one per core, at most four."""
    return study.jobs or len(gpus()) or min(cores(), 4)


def check_inputs(study: Study, directory: Path) -> None:
    """Refuse a study that reads what no cell makes and what does not exist.

    Raises: InputError naming the cell and the input.
    """
    cache = CellCache(directory)
    maker = {output: cell.name for cell in study.cells for output in cell.outputs}
    for cell in study.cells:
        for path in (*cell.outputs, *cell.clears):
            check_place(cache, cell, path)
        for path in cache.missing(cell):
            if not makers(path, maker):
                raise InputError(
                    f"cell {cell.name!r} reads {path}, which no cell writes and which is not there",
                    f"mend the path (it counts from {directory}), or add the cell that writes it",
                )


def check_place(cache: CellCache, cell: Cell, path: str) -> None:
    """Refuse to clear what no cell of this study made, and what a symbolic link puts outside its directory.

    Raises: InputError naming the file.
    """
    whole = cache.directory / path
    if not whole.parent.resolve().is_relative_to(cache.directory.resolve()):
        raise InputError(f"{whole}: a symbolic link leads out of {cache.directory}", "remove the link")
    claim(whole, not os.path.lexists(whole) or cache.made(cell, path), "move it away, or use another directory with -o")


def preview(study: Study, directory: Path, again: Sequence[str] = ()) -> list[tuple[Cell, str]]:
    """Each cell with why it would run, or "" when it is finished."""
    cache = CellCache(directory)
    reasons: dict[str, str] = {}
    for cell in study.cells:
        if _matches(cell, again):
            why = "asked for"
        elif waits := [name for name in cell.needs if reasons[name]]:
            why = f"after {', '.join(waits[:3])}" + (" …" if len(waits) > 3 else "")
        else:
            why = "its inputs are missing" if cache.missing(cell) else cache.why_run(cell, cache.key(cell))
        reasons[cell.name] = why
    return [(cell, reasons[cell.name]) for cell in study.cells]


def run(
    study: Study, directory: Path, *, jobs: int, executor: Executor | None = None, again: Sequence[str] = ()
) -> StudyResult:
    """Run all cells of a study that are not finished, at most `jobs` at once.

    A failed cell stops only what needs it. Raises: InputError for missing inputs or when the directory is in use;
    KeyboardInterrupt after Ctrl-C or SIGTERM, when all that ran has ended.
    """
    check_inputs(study, directory)
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / ".study" / "lock", "study run"), _sigterm_as_interrupt():
        return _Runner(study, directory, jobs, executor or LocalExecutor(), again).run()


def _matches(cell: Cell, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(cell.name, pattern) for pattern in patterns)


@dataclass(frozen=True)
class _Running:
    """A cell at work: what is asked for, which attempt it is, and the slots it holds."""

    cell: Cell
    key: CacheKey
    slots: list[int]
    attempt: int = 1


class _Runner:
    """One pass over a study."""

    def __init__(self, study: Study, directory: Path, jobs: int, executor: Executor, again: Sequence[str]) -> None:
        self.directory = directory.resolve()
        self.logs = self.directory / "logs"
        self.cache = CellCache(self.directory)
        self.executor = executor
        self.local = executor if isinstance(executor, LocalExecutor) else LocalExecutor()
        self.executors: list[Executor] = [self.local] if executor is self.local else [executor, self.local]
        self.services = ServicePool(self.directory, self.logs)
        self.again, self.jobs = again, jobs
        self.free = list(range(jobs))
        self.result = StudyResult(study, directory)
        self.waiting = {cell.name: cell for cell in study.cells}
        self.running: dict[Future[JobEnd], _Running] = {}
        self.show = ProgressBar(study.name, len(study.cells), unit="cell")

    def run(self) -> StudyResult:
        self.logs.mkdir(exist_ok=True)
        try:
            with self.show:
                while self.waiting or self.running:
                    while self._start_next():
                        pass
                    while self.running and not self._collect():
                        pass
        except KeyboardInterrupt:
            if self.running:
                names = ", ".join(running.cell.name for running in self.running.values())
                console.say(f"stopping {names} (Ctrl-C again: at once)")
            for executor in self.executors:
                executor.interrupt()
            raise
        finally:
            for executor in self.executors:
                executor.close()
            self.services.close()
            self.cache.save()
        return self.result

    def _start_next(self) -> bool:
        """Start one waiting cell, or end one that need not or cannot run; False when none can move."""
        for cell in list(self.waiting.values()) if self.free else []:
            states = {name: self.result.states.get(name) for name in cell.needs}
            if broken := [name for name, state in states.items() if state in BROKEN]:
                return self._end(cell, "blocked", f"needs {broken[0]}")
            if not all(state in FINISHED for state in states.values()):
                continue
            if missing := self.cache.missing(cell):
                return self._end(cell, "failed", f"its input {missing[0]} is not there")
            if _matches(cell, self.again):
                self.cache.forget(cell)
            key = self.cache.key(cell)
            why = self.cache.why_run(cell, key)
            if not why:
                return self._end(cell, "skipped")
            wanted = min(cell.slots or self.jobs, self.jobs)
            if wanted <= len(self.free):
                return self._start(_Running(cell, key, [self.free.pop(0) for _ in range(wanted)]), why)
            if cell.slots != 1:
                return False  # a wide cell is not starved by narrow ones
        return False

    def _start(self, running: _Running, why: str) -> bool:
        cell, slots, log = running.cell, running.slots, self.logs / f"{running.cell.name}.log"
        resumed = self.cache.interrupted(cell, running.key)
        if not resumed:
            self._clear(cell)
        if running.attempt == 1:
            log.unlink(missing_ok=True)
        self.waiting.pop(cell.name, None)
        self.show.begin(cell.name, lambda: next(iter(tail(log, 1)), ""))
        if not self.show.live:
            self._line(cell, f"starts ({why})")
        argv = [*cell.argv, *(cell.resume if resumed else ())]
        try:
            for service in cell.uses:
                port = str(self.services.port(service))
                argv = [word.replace(f"{{{service.name}.port}}", port) for word in argv]
        except RuntimeError as error:
            self.free = sorted([*self.free, *slots])
            return self._end(cell, "failed", str(error))
        self.cache.start(cell, running.key, running.attempt)
        out, env = self.logs / f"{cell.name}.out", self._env(slots)
        job = Job(cell.name, tuple(argv), self.directory, out, log, env, len(slots))
        executor = self.local if cell.uses or cell.argv[0] == "judge" else self.executor
        self.running[executor.submit(job)] = running
        return True

    def _env(self, slots: list[int]) -> dict[str, str]:
        """Threads and devices of a cell's share, so that cells side by side do not fight over them."""
        env: dict[str, str] = {}
        if "OMP_NUM_THREADS" not in os.environ:
            env["OMP_NUM_THREADS"] = str(max(1, cores() * len(slots) // self.jobs))
        if devices := gpus():
            env["CUDA_VISIBLE_DEVICES"] = ",".join(dict.fromkeys(devices[slot % len(devices)] for slot in slots))
        return env

    def _clear(self, cell: Cell) -> None:
        """Remove what an older command left under this cell's outputs, so that it can never pass for this one's.

        What somebody else has put into a directory among them is set aside.
        """
        for path in (*cell.outputs, *cell.clears):
            whole = self.directory / path
            check_place(self.cache, cell, path)
            for stranger in self.cache.strangers(cell, path):
                aside = self.directory / ".study" / "aside" / str(time.time_ns()) / stranger
                aside.parent.mkdir(parents=True)
                (self.directory / stranger).replace(aside)
                self.show.line(f"{cell.name}: {stranger} is not this study's: set aside as {aside}")
            if whole.is_dir() and not whole.is_symlink():
                shutil.rmtree(whole)
            else:
                whole.unlink(missing_ok=True)

    def _collect(self) -> bool:
        """Wait a moment for cells to end; False when none did."""
        self.show.redraw()
        done, _ = wait(self.running, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in done:
            running, end = self.running.pop(future), future.result()
            if end.lost and running.attempt <= RETRIES:
                self.show.line(f"{running.cell.name}: {end.why}; started again ({running.attempt} of {RETRIES})")
                self._start(replace(running, attempt=running.attempt + 1), "again")
            else:
                self.free = sorted([*self.free, *running.slots])
                self._finish(running, end)
        users = [*self.waiting.values(), *(running.cell for running in self.running.values())]
        self.services.keep({service.name for cell in users for service in cell.uses})
        return bool(done)

    def _finish(self, running: _Running, end: JobEnd) -> None:
        cell = running.cell
        log, out = self.logs / f"{cell.name}.log", self.logs / f"{cell.name}.out"
        for path in (log, out):
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            if scrub(text) != text:  # a cell that is not one of the programs may print the environment
                write_text(path, text)
        if end.returncode == 0 and cell.stdout:
            write_text(self.directory / cell.stdout, out.read_text(encoding="utf-8", errors="replace"))
        wrong = self.cache.finish(cell, running.key, running.attempt, end.returncode, end.seconds_s)
        self.result.seconds_s[cell.name] = round(end.seconds_s, 3)
        if end.returncode == 0 and not wrong:
            self._end(cell, "done")
            return
        self._end(cell, "failed", wrong or end.why or f"exit code {end.returncode}")
        self.show.line(f"{cell.name}: {cell.command}")
        for row in tail(log, TAIL_LINES) or tail(out, TAIL_LINES):
            self.show.line(f"  | {row}")
        self.show.line(f"  all of it: {log}")

    def _end(self, cell: Cell, state: str, note: str = "") -> bool:
        self.waiting.pop(cell.name, None)
        self.result.states[cell.name] = state
        self.result.notes[cell.name] = note
        self.show.end(cell.name)
        if state != "skipped":
            taken = f" in {duration(self.result.seconds_s[cell.name])}" if cell.name in self.result.seconds_s else ""
            self._line(cell, state + taken + (f": {note}" if note else ""))
        self.show.advance()
        return True

    def _line(self, cell: Cell, words: str) -> None:
        self.show.line(f"[{len(self.result.states)}/{len(self.result.study.cells)}] {cell.name}: {words}")


@contextmanager
def _sigterm_as_interrupt() -> Generator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C while cells run; what nohup ignores stays ignored."""
    main = threading.current_thread() is threading.main_thread()  # elsewhere it is the caller's business
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP) if main}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, signal.default_int_handler)
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
