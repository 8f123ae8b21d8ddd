"""A command run to its end, and what it took: for the benchmarks of whole commands."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """What a command printed, the seconds it took, and the most memory that its process had, as the kernel counts."""

    stdout: bytes
    cpu_s: float
    wall_s: float
    peak_bytes: int


def measure(arguments: Sequence[str]) -> Measured:
    """Run a program of the project (its name and what follows) to its end, without an endpoint in its environment.

    Raises: SystemExit when it fails.
    """
    started = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as out:
        process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=out, stderr=said, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.monotonic() - started
        for file in (said, out):
            file.seek(0)
        if status:
            raise SystemExit(f"{' '.join(arguments)} failed:\n{said.read().decode()[-2000:]}")
        return Measured(out.read(), usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss * 1024)
