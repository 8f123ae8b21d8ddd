"""Run one command in its own process group, and end it when the one who asked for it goes away.

`python -m study.executors.launch GRACE_S COMMAND…`: stdin is a pipe that the asker holds open. A byte in it passes
Ctrl-C's signal on to the command, and kills it GRACE_S seconds later. When the pipe closes because the asker was
killed, the command is killed at once, so that whoever takes up its work is alone; so it is on SIGTERM. The exit code is
the command's, or 128 + the signal that ended it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress


def main() -> None:
    """Entry point: runs the command of `sys.argv` and exits with its code."""
    grace_s, command = float(sys.argv[1]), sys.argv[2:]
    for name in (signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_prepare)

    def kill(*_: object) -> None:
        _send(child.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, kill)
    threading.Thread(target=_end_on_request, args=(child.pid, grace_s), daemon=True).start()
    if hasattr(os, "waitid"):  # not yet reaped: its number, and so its group's, cannot be somebody else's
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        _send(child.pid, signal.SIGKILL)  # what the command left running in its group
    code = child.wait()
    sys.exit(code if code >= 0 else 128 - code)


def _prepare() -> None:
    """In the child: default signals, none blocked; on Linux it dies with this launcher, should that be killed."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler if name is signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, see prctl(2)


def _end_on_request(group: int, grace_s: float) -> None:
    if not os.read(0, 1):
        _send(group, signal.SIGKILL)
        return
    for name, wait_s in ((signal.SIGINT, grace_s), (signal.SIGTERM, 2.0), (signal.SIGKILL, 0.0)):
        _send(group, name)
        time.sleep(wait_s)  # the end of the command ends this process, and this thread with it


def _send(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
