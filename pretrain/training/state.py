"""state/step-*/: everything that a run needs to go on to the bit, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from equiloss.errors import InputError
from equiloss.files import sync_directory, write_json
from equiloss.provenance import provenance
from equiloss.records.base_run import RunProgress, TrainingData, TrainingState
from equiloss.records.file_record import read
from pretrain.config import RunConfig
from pretrain.model.checkpoint import check_moments, check_tensors, load_plain
from pretrain.model.decoder import GPT
from pretrain.training.distributed import World
from pretrain.training.optimizers import Optimizers

PREFIX = "step-"


def save(
    directory: Path,
    progress: RunProgress,
    model: GPT,
    optimizers: Optimizers,
    best: dict[str, Tensor] | None,
    config: RunConfig,
    data: TrainingData,
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
            record = TrainingState(progress=progress, config=config.model_dump(), data=data, made=provenance())
            write_json(temporary / "state.json", record)
            sync_directory(temporary)
            temporary.rename(path)
            sync_directory(directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    world.barrier()
    return path


def prune(directory: Path, keep: int) -> None:
    """Delete all but the last `keep` states, and what an interrupted writer left behind."""
    for old in states_in(directory)[:-keep]:
        # Renamed first: a state that is half deleted must not look like one.
        hidden = old.with_name(f".{old.name}.tmp")
        with suppress(OSError):
            old.rename(hidden)
    for leftover in directory.glob(f".{PREFIX}*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def states_in(directory: Path) -> list[Path]:
    """The states in a directory, the oldest first."""
    return sorted(path for path in directory.glob(f"{PREFIX}*") if (path / "state.json").is_file())


def read_record(path: Path) -> TrainingState:
    """What a state says about itself: progress, config, data, and what made it.

    Raises: InputError when it is damaged or of another version.
    """
    return read(TrainingState, path / "state.json", "delete that state, or start a new run")


class StateTensors(TypedDict):
    """The tensors of a state: weights, the optimizers' state by parameter, and the best weights where they are kept."""

    model: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    best: dict[str, Tensor] | None


def load(path: Path, model: GPT) -> tuple[RunProgress, StateTensors]:
    """One state: where the run stood, and its tensors, which fit the model.

    Raises: InputError when it is damaged.
    """
    record, hint = read_record(path), "delete it: the one before is taken"
    try:
        tensors: StateTensors = load_plain(path / "state.pt", hint)
    except InputError as error:
        raise InputError(f"{path}: the state is damaged ({error.message})", hint) from None
    if not isinstance(tensors, dict) or tensors.keys() != StateTensors.__annotations__.keys():  # pyright: ignore
        raise InputError(f"{path}: the state is damaged", hint)
    for weights in [tensors["model"], *([] if tensors["best"] is None else [tensors["best"]])]:
        check_tensors(model.state_dict(), weights, f"{path}: the state is damaged", hint)
    check_moments(dict(model.named_parameters()), tensors["optimizer"], f"{path}: the state is damaged", hint)
    return record.progress, tensors


def restore(tensors: StateTensors | None, model: GPT, optimizers: Optimizers, world: World) -> None:
    """Put a state's tensors (None on all but the main process) into the model and the optimizers; all must call it."""
    kept = {} if tensors is None else {name: list(state) for name, state in tensors["optimizer"].items()}
    kept = world.on_main(lambda: kept)
    with torch.no_grad():
        for name, parameter in model.state_dict().items():
            parameter.copy_(world.place(None if tensors is None else tensors["model"][name], parameter))
    parameters = dict(model.named_parameters())
    state: dict[str, dict[str, Tensor]] = {}
    for name, keys in kept.items():
        state[name] = {}
        for key in keys:
            like = torch.zeros((), device=world.device) if key == "step" else parameters[name]
            state[name][key] = world.place(None if tensors is None else tensors["optimizer"][name][key], like)
    optimizers.load(state)
