"""Where cells run: as processes of this machine, or on a Ray cluster (`study.executors.ray_cluster`)."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
class Outcome:
    """How a job ended. `lost`: it was killed from outside, or its machine went away; it may be tried again."""

    name: str
    returncode: int
    seconds_s: float
    lost: bool = False
    why: str = ""


class Engine(Protocol):
    """Runs jobs side by side; the caller decides how many."""

    def start(self, job: Job) -> None:
        """Start a job and return at once."""
        ...

    def wait(self, timeout_s: float) -> Outcome | None:
        """The next job that ended, or None when none did in time."""
        ...

    def interrupt(self) -> None:
        """Ask all running jobs to stop, as Ctrl-C would; they end within `GRACE_S` and are reported by `wait`."""
        ...

    def close(self) -> None:
        """End what still runs and free what the engine holds."""
        ...


def argv_of(command: Sequence[str]) -> list[str]:
    """A cell's command as this Python runs it, so that a study never picks up another installation."""
    program, *rest = command
    if program == "python":
        return [sys.executable, *rest]
    module = "torch.distributed.run" if program == "torchrun" else program
    return [sys.executable, "-P", "-m", module, *rest]


def launch(job: Job, grace_s: float = GRACE_S) -> subprocess.Popen[bytes]:
    """Start a job under `study.executors.launch`; `stop` ends it."""
    job.stdout.parent.mkdir(parents=True, exist_ok=True)
    with job.stdout.open("wb") as out, job.stderr.open("ab") as err:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "study.executors.launch", str(grace_s), *argv_of(job.command)],
            cwd=job.directory,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **_python_path(), **job.env},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a launched job as Ctrl-C would; it ends within its grace."""
    if process.stdin and not process.stdin.closed:
        with suppress(BrokenPipeError):
            process.stdin.write(b"i")
            process.stdin.flush()
        with suppress(BrokenPipeError):
            process.stdin.close()


def _python_path() -> dict[str, str]:
    """What lets a child in another working directory find the packages of a checkout that is not installed."""
    here = Path(__file__).resolve().parents[2]
    if here.name in ("site-packages", "dist-packages"):
        return {}
    return {"PYTHONPATH": os.pathsep.join([str(here), *filter(None, [os.environ.get("PYTHONPATH")])])}


def outcome_of(name: str, code: int, seconds_s: float) -> Outcome:
    """An outcome from the exit code of `launch`: above 128 it was ended by a signal; 130 is a Ctrl-C."""
    killed = code < 0 or (code > 128 and code != 130)
    number = -code if code < 0 else code - 128
    names = {item.value: item.name for item in signal.Signals}
    why = f"ended by {names.get(number, f'signal {number}')}" if killed else ""
    return Outcome(name, code, seconds_s, lost=killed, why=why)


class LocalEngine:
    """Jobs as processes of this machine, each in its own process group."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, job: Job) -> None:
        """Start a job and return at once."""
        process = launch(job, self._grace_s)
        self._running[job.name] = process
        threading.Thread(target=self._watch, args=(job.name, process, time.monotonic()), daemon=True).start()

    def _watch(self, name: str, process: subprocess.Popen[bytes], started_s: float) -> None:
        code = process.wait()
        self._ended.put(outcome_of(name, code, time.monotonic() - started_s))

    def wait(self, timeout_s: float) -> Outcome | None:
        """The next job that ended, or None when none did in time."""
        try:
            outcome = self._ended.get(timeout=timeout_s)
        except queue.Empty:
            return None
        stop(self._running.pop(outcome.name))  # it has ended: this only closes the pipe
        return outcome

    def interrupt(self) -> None:
        """Ask all running jobs to stop."""
        for process in self._running.values():
            stop(process)

    def close(self) -> None:
        """End what still runs: patiently, or at once when interrupted again meanwhile."""
        self.interrupt()
        try:
            for process in self._running.values():
                process.wait()  # at most the grace: then the launcher kills
        finally:
            for process in self._running.values():
                process.terminate()
                process.wait()
            self._running.clear()


class Servers:
    """The services of a study: started for the first cell that uses one, ended after the last."""

    def __init__(self, directory: Path, logs: Path) -> None:
        self._directory = directory
        self._logs = logs
        self._running: dict[str, tuple[subprocess.Popen[bytes], int]] = {}

    def port(self, name: str, argv: Sequence[str], patience_s: float = 60.0) -> int:
        """The port of a service, started now if it is not running.

        Raises: RuntimeError with the end of its log when it does not answer.
        """
        if name in self._running and self._running[name][0].poll() is None:
            return self._running[name][1]
        port = free_port()
        log = self._logs / f"{name}.log"
        command = tuple(word.replace("{port}", str(port)) for word in argv)
        job = Job(name, command, self._directory, self._logs / f"{name}.out", log)
        process = launch(job, grace_s=5.0)
        self._running[name] = (process, port)
        deadline_s = time.monotonic() + patience_s
        while process.poll() is None and time.monotonic() < deadline_s:
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.05)
        self.end(name)
        raise RuntimeError(f"service {name!r} does not answer on its port; see {log}")

    def end(self, name: str) -> None:
        """End a service if it runs."""
        process, _ = self._running.pop(name, (None, 0))
        if process is None:
            return
        stop(process)
        try:
            process.wait(12)
        except subprocess.TimeoutExpired:
            process.kill()

    def close(self) -> None:
        """End all services."""
        for name in list(self._running):
            self.end(name)


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The CUDA devices this process may use, by the names that CUDA_VISIBLE_DEVICES takes; asks no driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    return [str(index) for index in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
