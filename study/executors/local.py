"""Jobs as processes of this machine."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import Future

from study.executors.base import GRACE_S, Job, JobEnd
from study.executors.process import ended, launch, stop


class LocalExecutor:
    """Runs each job in a process group of its own."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._running: set[subprocess.Popen[bytes]] = set()

    def submit(self, job: Job) -> Future[JobEnd]:
        """Start a job and return at once."""
        process, future, started_s = launch(job, self._grace_s), Future[JobEnd](), time.monotonic()
        self._running.add(process)

        def watch() -> None:
            code = process.wait()
            stop(process)
            self._running.discard(process)
            future.set_result(ended(code, time.monotonic() - started_s))

        threading.Thread(target=watch, daemon=True).start()
        return future

    def interrupt(self) -> None:
        """Ask all running jobs to stop."""
        for process in list(self._running):
            stop(process)

    def close(self) -> None:
        """End what still runs: patiently, or at once when interrupted again meanwhile."""
        running = list(self._running)
        self.interrupt()
        try:
            for process in running:
                process.wait()  # at most the grace: then the launcher kills
        finally:
            for process in running:
                process.terminate()
                process.wait()
