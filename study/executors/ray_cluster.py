"""Cells on a Ray cluster: each a task on some node, as the same processes as on one machine.

The study's directory must be at the same path on every node (a shared file system), and equiloss installed there.
A task asks for one CPU per slot, and a GPU where the cluster has them. When its worker dies, the command dies with
it, and the study starts the cell again elsewhere. Commands of `judge` and users of a service stay on the machine of
the study: the key and the service are there, and their work is done elsewhere anyway.
"""

from __future__ import annotations

import importlib
import os
import socket
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from equiloss.errors import InputError
from study.executors.base import GRACE_S, Job, JobEnd
from study.executors.process import ended, launch, stop


def execute(job: Job, grace_s: float) -> JobEnd:
    """Run a job on this node to its end. Interrupted, it passes the interrupt on."""
    started_s = time.monotonic()
    process = launch(job, grace_s)
    try:
        while (code := process.poll()) is None:
            time.sleep(0.1)  # Ray's cancel is seen between two steps of Python, not inside a wait
    finally:
        stop(process)
        process.wait()
    return ended(code, time.monotonic() - started_s)


class RayExecutor:
    """Jobs as tasks of a Ray cluster: the one at `address`, or a local one of this machine's cores."""

    def __init__(self, address: str | None = None, grace_s: float = GRACE_S) -> None:
        ray: Any = importlib.import_module("ray")
        self._ray = ray
        self._grace_s = grace_s
        self._mine = not ray.is_initialized()
        if self._mine:
            _check_there(address)
            try:
                ray.init(
                    address=address,
                    log_to_driver=False,
                    configure_logging=False,
                    include_dashboard=False if address is None else None,
                )
            except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise InputError(f"no Ray cluster at {address}: {error}", "start one with `ray start --head`") from None
        # Tried again by the study, which knows about `resume`, and not by Ray.
        self._execute: Any = ray.remote(max_retries=0)(execute)
        self._gpus = bool(ray.cluster_resources().get("GPU"))
        self._running: set[Any] = set()
        self._interrupted: set[Any] = set()

    def submit(self, job: Job) -> Future[JobEnd]:
        """Hand a job to the cluster; it starts as soon as a node has room."""
        env = {key: value for key, value in job.env.items() if key != "CUDA_VISIBLE_DEVICES"}  # Ray deals them out
        options = {"num_cpus": job.slots, "num_gpus": job.slots if self._gpus else 0, "name": job.name}
        task = self._execute.options(**options).remote(replace(job, env={**_passed_on(), **env}), self._grace_s)
        future, started_s = Future[JobEnd](), time.monotonic()
        self._running.add(task)

        def end(done: Future[JobEnd]) -> None:
            self._running.discard(task)
            try:
                future.set_result(done.result())
            except self._ray.exceptions.RayTaskError as error:
                future.set_result(JobEnd(1, time.monotonic() - started_s, why=str(error.cause)))
            except self._ray.exceptions.RayError as error:
                why = f"lost with its worker ({type(error).__name__})"
                future.set_result(JobEnd(137, time.monotonic() - started_s, lost=True, why=why))

        task.future().add_done_callback(end)
        return future

    def interrupt(self) -> None:
        """Interrupt all tasks; those that wait for a node never start."""
        for task in self._running - self._interrupted:  # a second time would cut its patience short
            self._interrupted.add(task)
            self._ray.cancel(task)

    def close(self) -> None:
        """End what still runs, and leave the cluster; a local one ends."""
        self.interrupt()
        running = list(self._running)
        try:
            if running:
                self._ray.wait(running, num_returns=len(running), timeout=self._grace_s + 5)
        finally:
            for task in running:
                self._ray.cancel(task, force=True)
            if self._mine:
                self._ray.shutdown()


def _check_there(address: str | None, patience_s: float = 5.0) -> None:
    """Find out in seconds, where Ray takes minutes, that nothing listens at HOST:PORT."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=patience_s).close()
    except OSError as error:
        raise InputError(f"no Ray cluster at {address}: {error}", "start one with `ray start --head`") from None


def _passed_on() -> dict[str, str]:
    """Of this process' environment, what a cell on another node should see too. No keys."""
    names = ("HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "NO_COLOR")
    return {name: os.environ[name] for name in names if name in os.environ}
