"""Which devices JAX trains on, in one process or many."""

# Without JAX, type checkers take this package for it.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax

from equiloss.errors import InputError


def join(name: str, rank: int, size: int, threads: int, address: Callable[[], str]) -> int:
    """Join the `size` processes of a run; returns how many of the devices called `name` are this process's own.

    `threads`: what XLA may use of a CPU, where JAX has not begun yet. `address`: where the processes meet, for several.
    Raises: InputError for a device that is not there.
    """
    os.environ.setdefault("NPROC", str(threads))  # what XLA's CPU client sizes its pool by
    if size > 1 and not jax.distributed.is_initialized():
        local = int(os.environ.get("LOCAL_RANK", "0")) if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1 else None
        jax.distributed.initialize(address(), num_processes=size, process_id=rank, local_device_ids=local)
    return sum(device.process_index == jax.process_index() for device in devices(name))


def devices(name: str) -> list[Any]:
    """The devices of all processes that `train.device` names: auto (JAX's choice), cpu, cuda, tpu; cuda:1 is one.

    Raises: InputError for a device that is not there.
    """
    platform, _, index = name.partition(":")
    try:
        every = jax.devices(None if platform == "auto" else platform)
        return [every[int(index)]] if index else every
    except (RuntimeError, ValueError, IndexError):
        raise InputError(
            f"train.device is {name!r}, which JAX does not have here", "set train.device=auto, or install its plugin"
        ) from None
