"""Keeps memory that training frees: glibc hands large blocks back to the system, and faults them in again each step."""

from __future__ import annotations

import ctypes
import os
import platform

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tell this process's C allocator to reuse what is freed; True where it obeys (glibc alone knows these settings).

    Blocks come from one heap instead of maps of their own, and the heap is never trimmed. Nothing is changed for who
    runs with malloc settings of their own (MALLOC_* or GLIBC_TUNABLES).
    """
    own_settings = "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ)
    if own_settings or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, 2**31 - 1), mallopt(M_ARENA_MAX, 1)])
