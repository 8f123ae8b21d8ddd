"""Jobs as processes of this machine."""

from __future__ import annotations

import subprocess
import time

from study.executors.base import GRACE_S, Job, JobEnd
from study.executors.process import ended, launch, stop

_LOOK_S = 0.02


class LocalExecutor:
    """Runs each job in a process group of its own."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}

    def start(self, job: Job) -> None:
        """Start a job and return at once."""
        self._running[job.name] = (launch(job, self._grace_s), time.monotonic())

    def wait(self, timeout_s: float) -> JobEnd | None:
        """The next job that ended, or None when none did in time."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            for name, (process, started_s) in self._running.items():
                if (code := process.poll()) is not None:
                    stop(process)
                    del self._running[name]
                    return ended(name, code, time.monotonic() - started_s)
            if time.monotonic() >= deadline_s:
                return None
            time.sleep(_LOOK_S)

    def interrupt(self) -> None:
        """Ask all running jobs to stop."""
        for process, _ in self._running.values():
            stop(process)

    def close(self) -> None:
        """End what still runs: patiently, or at once when interrupted again meanwhile."""
        self.interrupt()
        try:
            for process, _ in self._running.values():
                process.wait()  # at most the grace: then the launcher kills
        finally:
            for process, _ in self._running.values():
                process.terminate()
                process.wait()
            self._running.clear()
