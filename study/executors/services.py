"""The services of a study: servers on loopback, started for the first cell that uses one, ended after the last."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from study.executors.base import Job
from study.executors.process import launch, stop
from study.graph import StudyService


class ServicePool:
    """The services that run, each on a free port."""

    def __init__(self, directory: Path, logs: Path) -> None:
        self._directory = directory
        self._logs = logs
        self._running: dict[str, tuple[subprocess.Popen[bytes], int]] = {}

    def port(self, service: StudyService, patience_s: float = 60.0) -> int:
        """The port of a service, started now if it is not running.

        Raises: RuntimeError with the end of its log when it does not answer.
        """
        name = service.name
        if name in self._running and self._running[name][0].poll() is None:
            return self._running[name][1]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        log = self._logs / f"{name}.log"
        command = tuple(word.replace("{port}", str(port)) for word in service.argv)
        process = launch(Job(name, command, self._directory, self._logs / f"{name}.out", log), grace_s=5.0)
        self._running[name] = (process, port)
        deadline_s = time.monotonic() + patience_s
        while process.poll() is None and time.monotonic() < deadline_s:
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.05)
        self._end(name)
        raise RuntimeError(f"service {name!r} does not answer on its port; see {log}")

    def keep(self, names: Container[str]) -> None:
        """End all but these."""
        for name in [name for name in self._running if name not in names]:
            self._end(name)

    def close(self) -> None:
        """End all services."""
        self.keep(())

    def _end(self, name: str) -> None:
        process, _ = self._running.pop(name)
        stop(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(12)
        process.kill()
