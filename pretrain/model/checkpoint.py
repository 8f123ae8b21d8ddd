"""checkpoint.pt: a base model alone, in a file that loads with `weights_only=True` and runs no code."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import JsonValue

from equiloss.config import validate
from equiloss.errors import InputError
from equiloss.files import atomic, sha256_file
from equiloss.records.base_run import CheckpointRun
from equiloss.records.file_record import parse
from pretrain.config import ModelConfig
from pretrain.model.decoder import GPT

if TYPE_CHECKING:
    from tiktoken import Encoding

FORMAT = "equiloss.checkpoint.v1"
HINT = "give a checkpoint.pt that `pretrain run` or `pretrain import` wrote"


TokenizerRecord = dict[str, JsonValue]
"""See `equiloss.tokenizer.from_record`."""


@dataclass
class Checkpoint:
    """A loaded base model and what made it."""

    model: GPT
    config: ModelConfig
    tokenizer: TokenizerRecord
    run: CheckpointRun
    sha256: str
    path: Path

    @cached_property
    def encoding(self) -> Encoding:
        """The tokenizer itself."""
        from equiloss.tokenizer import from_record

        return from_record(self.tokenizer)


def save(path: Path, model: GPT, tokenizer: TokenizerRecord, run: CheckpointRun) -> None:
    """Write a model, its tokenizer's record and its run's record as one file, whole or not at all."""
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    save_state(path, model.config, state, tokenizer, run)


def save_state(
    path: Path, config: ModelConfig, state: dict[str, torch.Tensor], tokenizer: TokenizerRecord, run: CheckpointRun
) -> None:
    """Write a model given as its full state dict (what a sharded model gathers to)."""
    document = {
        "format": FORMAT,
        "config": config.model_dump(),
        "state_dict": state,
        "tokenizer": tokenizer,
        "run": run.model_dump(mode="json"),
    }
    with atomic(path, "wb") as f:
        torch.save(document, f)


def load_plain(path: Path, hint: str) -> Any:
    """What a file of torch.save holds, on the CPU, where that is tensors and plain data: nothing of it is executed.

    Raises: InputError when it is missing or damaged, or holds anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint) from None
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds something other than plain tensors, so it is not opened", hint) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError):
        raise InputError(f"{path}: not a checkpoint, or damaged", hint) from None


def load(path: Path | str, device: str | torch.device = "cpu", dropout: float = 0.0) -> Checkpoint:
    """Load a checkpoint; the model is in evaluation mode and has the `dropout` asked for here, not the base run's.

    Raises: InputError when the file is missing, not a checkpoint, holds code, or its weights do not fit its config.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory", "name the checkpoint.pt in it")
    if path.exists() and not zipfile.is_zipfile(path):  # cut short, or an old-style pickle
        raise InputError(f"{path}: not a checkpoint, or damaged", HINT)
    document = load_plain(path, HINT)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path}: not a checkpoint of format {FORMAT}", HINT)
    missing = {"config", "state_dict", "tokenizer", "run"} - document.keys()
    if missing:
        raise InputError(f"{path}: the checkpoint lacks {', '.join(sorted(missing))}", HINT)
    config = validate(ModelConfig, document["config"], f"{path}: config")
    run = parse(CheckpointRun, document["run"], f"{path}: run", HINT)
    with torch.device("meta"):
        model = GPT(config, dropout=dropout)
    try:
        model.load_state_dict(document["state_dict"], assign=True)
    except RuntimeError as error:
        first = " ".join(str(error).split("\n", 2)[1:2]).strip() or str(error)
        raise InputError(f"{path}: the weights do not fit the config: {first}", HINT) from None
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.to(device).eval()
    return Checkpoint(model, config, document["tokenizer"], run, sha256_file(path), path)
