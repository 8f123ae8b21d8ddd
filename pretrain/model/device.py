"""Which device a model lives on."""

from __future__ import annotations

import os

import torch

from equiloss.errors import InputError


def pick_device(name: str) -> torch.device:
    """The device called `name`; auto: CUDA, else Apple's GPU, else the CPU. Of several GPUs, this process's own."""
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"train.device {name!r} is no device", "try auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"train.device is {name!r} but no CUDA device is there", "set train.device=auto")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device
