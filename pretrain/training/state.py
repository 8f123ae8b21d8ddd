"""state/step-*/: everything that a run needs to go on to the bit, written whole or not at all."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import zipfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equiloss.errors import InputError
from equiloss.files import read_json, sync_directory, write_json
from pretrain.model.decoder import GPT
from pretrain.training.distributed import World
from pretrain.training.optimizers import Optimizers

FORMAT = "equiloss.state.v1"
PREFIX = "step-"


@dataclass
class Progress:
    """Where a run stands. What is random needs no place here: data order and dropout are functions of the step."""

    step: int = 0
    """Steps made."""
    skipped: int = 0
    """Steps whose gradients were not finite."""
    skipped_in_a_row: int = 0
    elapsed_s: float = 0.0
    metrics_bytes: int = 0
    """Length of metrics.jsonl; what is behind it is written again after resuming."""
    best_validation_loss: float | None = None
    best_step: int | None = None
    validation_loss: float | None = None
    loss_scale: float | None = None
    good_steps: int = 0
    interval: list[list[float]] = field(default_factory=list)
    """Loss, gradient norm, clipped, skipped of the steps since the last line of metrics.jsonl."""


def save(
    directory: Path,
    progress: Progress,
    model: GPT,
    optimizers: Optimizers,
    best: dict[str, Tensor] | None,
    made_by: dict[str, Any],
    world: World,
) -> Path:
    """Write the state of all processes as step-N in `directory`; all must call it.

    The weights are stored whole, so another number of processes can take them up.
    """
    weights = {name: world.gather(value) for name, value in model.state_dict().items()}
    moments = {
        name: {key: world.gather(value) for key, value in state.items()} for name, state in optimizers.state().items()
    }
    path = directory / f"{PREFIX}{progress.step:08d}"
    if world.main and not path.exists():
        temporary = directory / f".{path.name}.{os.getpid()}.tmp"
        try:
            temporary.mkdir(parents=True)
            with (temporary / "state.pt").open("wb") as f:
                torch.save({"model": weights, "optimizer": moments, "best": best}, f)
                f.flush()
                os.fsync(f.fileno())
            write_json(temporary / "state.json", {"format": FORMAT, "progress": _plain(progress), **made_by})
            sync_directory(temporary)
            temporary.rename(path)
            sync_directory(directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    world.barrier()
    return path


def _plain(progress: Progress) -> dict[str, Any]:
    """As JSON, which has no infinity: the gradient norm of a skipped step is null there."""
    rows = [[value if math.isfinite(value) else None for value in row] for row in progress.interval]
    return {**asdict(progress), "interval": rows}


def prune(directory: Path, keep: int) -> None:
    """Delete all but the last `keep` states, and what an interrupted writer left behind."""
    for old in found(directory)[:-keep]:
        # Renamed first: a state that is half deleted must not look like one.
        hidden = old.with_name(f".{old.name}.tmp")
        with suppress(OSError):
            old.rename(hidden)
    for leftover in directory.glob(f".{PREFIX}*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def found(directory: Path) -> list[Path]:
    """The states in a directory, the oldest first."""
    return sorted(path for path in directory.glob(f"{PREFIX}*") if (path / "state.json").is_file())


def read_record(path: Path) -> dict[str, Any]:
    """What a state says about itself: progress, config, data, and what made it.

    Raises: InputError when it is damaged or of another version.
    """
    record: dict[str, Any] = read_json(path / "state.json")
    if record.get("format") != FORMAT:
        raise InputError(f"{path}: not a state of format {FORMAT}", "it is from another version: start a new run")
    return record


def read(path: Path) -> tuple[Progress, dict[str, Any], dict[str, Any]]:
    """One state: where the run stood, its record (config, data), and its tensors (model, optimizer, best).

    Raises: InputError when it is damaged.
    """
    record = read_record(path)
    file = path / "state.pt"
    try:
        progress = Progress(**record["progress"])
        progress.interval = [[math.inf if value is None else value for value in row] for row in progress.interval]
        if not zipfile.is_zipfile(file):
            raise ValueError("cut short")
        tensors: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"{path}: the state is damaged ({error})", "delete it: the one before is taken") from None
    return progress, record, tensors


def restore(tensors: dict[str, Any] | None, model: GPT, optimizers: Optimizers, world: World) -> None:
    """Put a state's tensors (None on all but the main process) into the model and the optimizers; all must call it."""
    shapes: Any = None
    if tensors is not None:
        shapes = {name: list(state) for name, state in tensors["optimizer"].items()}
    shapes = world.on_main(lambda: shapes)
    with torch.no_grad():
        for name, parameter in model.state_dict().items():
            parameter.copy_(world.place(None if tensors is None else tensors["model"][name], parameter))
    parameters = dict(model.named_parameters())
    state: dict[str, dict[str, Tensor]] = {}
    for name, keys in shapes.items():
        state[name] = {}
        for key in keys:
            like = torch.zeros((), device=world.device) if key == "step" else parameters[name]
            state[name][key] = world.place(None if tensors is None else tensors["optimizer"][name][key], like)
    optimizers.load(state)


def fingerprint(tokens: np.ndarray[Any, Any]) -> str:
    """A hash of a token file's content: all of it up to 64 MB, else its size and 64 MB spread over it."""
    raw = np.asarray(tokens).view(np.uint8)
    block, blocks = 1 << 20, 64
    digest = hashlib.sha256(str(len(raw)).encode())
    if len(raw) <= block * blocks:
        digest.update(raw.data)
    else:
        for start in np.linspace(0, len(raw) - block, blocks).astype(np.int64):
            digest.update(raw[start : start + block].data)
    return digest.hexdigest()
