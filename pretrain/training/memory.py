"""How much memory there is, and how much this process has needed at most."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
SELF = Path("/proc/self")


def available_bytes(device: torch.device) -> int:
    """What a process could still take: free GPU memory, or RAM within the container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [_entry(MEMINFO, "MemAvailable") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    with suppress(OSError, ValueError):  # "max" is no number: no limit
        limit = int((CGROUP / "memory.max").read_text())
        free.append(limit - int((CGROUP / "memory.current").read_text()))
    return max(0, min(free))


def forget_peak(device: torch.device) -> None:
    """Let `peak_bytes` start again from what is in use now, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        (SELF / "clear_refs").write_text("5")


def _entry(path: Path, name: str) -> int | None:
    """The bytes that an entry of a file in /proc gives in kB; None where there is none."""
    with suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def peak_bytes(device: torch.device) -> int:
    """The most memory this process has had since `forget_peak`, or so far: on the GPU, or resident in RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if (highest := _entry(SELF / "status", "VmHWM")) is not None:
        return highest
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """The memory of this process that is in RAM now; 0 where the system does not tell."""
    return _entry(SELF / "status", "VmRSS") or 0
