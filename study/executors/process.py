"""Commands as processes of this machine: started under the launcher that ends them when their study goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from study.executors.base import GRACE_S, Job, JobEnd


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
    """Interrupt a launched job as Ctrl-C would; it ends within its grace. Of one that has ended, close the pipe."""
    if process.stdin and not process.stdin.closed:
        with suppress(BrokenPipeError):
            process.stdin.write(b"i")
            process.stdin.flush()
        with suppress(BrokenPipeError):
            process.stdin.close()


def ended(code: int, seconds_s: float) -> JobEnd:
    """A job's end from the exit code of `launch`: above 128 it was ended by a signal; 130 is a Ctrl-C."""
    killed = code < 0 or (code > 128 and code != 130)
    number = -code if code < 0 else code - 128
    names = {item.value: item.name for item in signal.Signals}
    why = f"ended by {names.get(number, f'signal {number}')}" if killed else ""
    return JobEnd(code, seconds_s, lost=killed, why=why)


def _python_path() -> dict[str, str]:
    """What lets a child in another working directory find the packages of a checkout that is not installed."""
    here = Path(__file__).resolve().parents[2]
    if here.name in ("site-packages", "dist-packages"):
        return {}
    return {"PYTHONPATH": os.pathsep.join([str(here), *filter(None, [os.environ.get("PYTHONPATH")])])}
