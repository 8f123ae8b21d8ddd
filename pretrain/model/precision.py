"""Number formats of training: what each means on each device, and which one a device is fastest with."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from pretrain.config import ModelConfig

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: torch.device, model: ModelConfig) -> Precision:
    """The precision that "auto" stands for; another is returned as it is.

    A rule, not a measurement, so that two runs on one machine always get the same: bf16 on GPUs that have it, and on
    CPUs with AVX-512 BF16 or AMX from a width of 128 on, below which converting costs more than it saves.
    """
    if precision != "auto":
        return precision  # type: ignore[return-value]
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    if device.type == "cpu":
        return "bf16" if cpu_has_bf16() and model.n_embd >= 128 else "fp32"
    return "fp32"


@cache
def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 natively (AVX-512 BF16 or AMX), where the system tells."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def set_matmul_precision(precision: str) -> None:
    """Set the process-wide rule for fp32 matrix products: exact, or TF32 where the device has it."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context in which the forward pass runs."""
    dtype = AUTOCAST.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)
