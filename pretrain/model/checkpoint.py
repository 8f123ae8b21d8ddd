"""checkpoint.pt: a base model alone, in a file that loads with `weights_only=True` and runs no code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import JsonValue
from torch import Tensor

from equiloss import commands, tokenizer
from equiloss.config import validate
from equiloss.errors import InputError
from equiloss.files import atomic, reading, sha256_file, sha256_of
from equiloss.records.base_run import CheckpointRun
from equiloss.records.file_record import parse
from equiloss.records.ift_run import AnsweringModel, Settings
from pretrain.config import ModelConfig
from pretrain.data.shards import Shards, TokenSplit
from pretrain.model.decoder import GPT
from pretrain.model.language_model import Documents, LanguageModel, LoadedModel
from pretrain.model.precision import Precision, resolve_precision

if TYPE_CHECKING:
    from tiktoken import Encoding

FORMAT = "equiloss.checkpoint.v1"
NAME = "checkpoint.pt"
HINT = "give a checkpoint.pt that `pretrain run` or `pretrain import` wrote"


TokenizerRecord = dict[str, JsonValue]
"""See `equiloss.tokenizer.from_record`."""


@dataclass
class Checkpoint(LoadedModel):
    """A model of this suite that was opened, and what made it."""

    model: GPT  # pyright: ignore[reportIncompatibleVariableOverride]
    config: ModelConfig
    tokenizer: TokenizerRecord
    run: CheckpointRun
    sha256: str
    path: Path

    @cached_property
    def encoding(self) -> Encoding:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The tokenizer itself."""
        encoding = tokenizer.from_record(self.tokenizer, f"{self.path}: tokenizer")
        if encoding.n_vocab > (self.config.vocab_size or 0):
            raise InputError(f"{self.path}: its tokenizer has more ids than the model, {encoding.n_vocab:,}", HINT)
        return encoding

    @property
    def tokenizer_sha256(self) -> str:
        """See LoadedModel."""
        return sha256_of(self.tokenizer)

    @property
    def settings(self) -> Settings:
        """See LoadedModel."""
        return self.config.model_dump()

    @property
    def about(self) -> AnsweringModel:
        """See LoadedModel."""
        return AnsweringModel(kind="checkpoint", path=str(self.path), sha256=self.sha256, run=self.run)

    def weights_in(self, directory: Path) -> Path:
        """See LoadedModel."""
        return directory / NAME

    def save(self, directory: Path, model: LanguageModel, run: CheckpointRun) -> None:
        """See LoadedModel."""
        assert isinstance(model, GPT)
        save(directory / NAME, model, self.tokenizer, run)

    def tokens_of(self, shards: Shards, split: TokenSplit, chosen: Documents) -> tuple[TokenSplit, Documents]:
        """See LoadedModel."""
        own, data = self.encoding, shards.tokenizer
        if tokenizer.sha256(own) != tokenizer.sha256(data):
            raise InputError(
                f"{self.path} was trained with another tokenizer ({own.n_vocab:,} ids) than {shards.directory} has "
                f"({data.n_vocab:,} ids)",
                f"write the data with the checkpoint's: `{commands.pretrain_data(None, None, None)}`",
            )
        return split, chosen

    def precision(self, asked: str) -> Precision:
        """See LoadedModel."""
        return resolve_precision(asked, self.device, self.config)


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

    Every part is held against the checksum that torch.save wrote with it. Raises: InputError when the file is missing
    or damaged, or holds anything else.
    """
    with reading(path, "a checkpoint", hint):
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as parts:
                if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()) or parts.testzip():
                    raise ValueError("its parts do not have their checksums")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise InputError(f"{path}: holds something other than plain tensors, so it is not opened", hint) from None


def check_tensors(expected: Mapping[str, Tensor], given: Any, where: str, hint: str) -> None:
    """Raise InputError unless `given` has the tensors of `expected` with their shapes, in finite fp32 on the CPU."""
    if not isinstance(given, dict) or given.keys() != expected.keys():
        odd = sorted(map(str, expected.keys() ^ given.keys() if isinstance(given, dict) else [type(given).__name__]))  # pyright: ignore
        raise InputError(f"{where}: the weights do not fit the config: {', '.join(odd[:3])}", hint)
    for name, like in expected.items():
        check_tensor(like, given[name], f"{where}: the weights do not fit the config: {name}", hint)


def check_moments(parameters: Mapping[str, Tensor], given: Any, where: str, hint: str) -> None:
    """Raise InputError unless `given` is an optimizer's state of these parameters, each moment of its shape.

    torch's fused AdamW believes shapes and types: where one is wrong it writes past the end of the memory.
    """
    kinds = ({"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"})
    if not isinstance(given, dict) or not given.keys() <= parameters.keys():
        raise InputError(f"{where} is no optimizer's state", hint)
    for name, moments in given.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(moments, dict) or moments.keys() not in kinds:
            raise InputError(f"{where} lacks moments of {name}", hint)
        for key, value in moments.items():  # pyright: ignore[reportUnknownVariableType]
            check_tensor(torch.zeros(()) if key == "step" else parameters[name], value, f"{where}: {name}: {key}", hint)  # pyright: ignore


def check_tensor(like: Tensor, value: Any, where: str, hint: str) -> None:
    """Raise InputError unless `value` is a finite fp32 tensor in memory of the shape of `like`."""
    plain = isinstance(value, Tensor) and value.device.type == "cpu" and value.layout == torch.strided
    if not plain or value.dtype != torch.float32 or value.shape != like.shape:
        kind = (
            f"{value.dtype} {tuple(value.shape)} on {value.device}"
            if isinstance(value, Tensor)
            else type(value).__name__
        )
        raise InputError(f"{where} is {kind}, not torch.float32 {tuple(like.shape)}", hint)
    if not bool(torch.isfinite(value).all()):
        raise InputError(f"{where} holds numbers that are not finite", hint)


def load(path: Path | str, device: str | torch.device = "cpu", dropout: float = 0.0) -> Checkpoint:
    """Load a checkpoint; the model is in evaluation mode and has the `dropout` asked for here, not the base run's.

    Raises: InputError when the file is missing, not a checkpoint, holds code, or its weights do not fit its config.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory", "name the checkpoint.pt in it")
    if path.is_file() and not zipfile.is_zipfile(path):  # cut short, or an old-style pickle
        raise InputError(f"{path}: not a checkpoint, or damaged", HINT)
    document = load_plain(path, HINT)
    refuse_nanochat(path, document)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path}: not a checkpoint of format {FORMAT}", HINT)
    missing = {"config", "state_dict", "tokenizer", "run"} - document.keys()
    if missing:
        raise InputError(f"{path}: the checkpoint lacks {', '.join(sorted(missing))}", HINT)
    config = validate(ModelConfig, document["config"], f"{path}: config")
    run = parse(CheckpointRun, document["run"], f"{path}: run", HINT)
    if not isinstance(document["state_dict"], dict):
        raise InputError(f"{path}: the checkpoint's state_dict holds no weights by name", HINT)
    layers = {str(name).split(".")[1] for name in document["state_dict"] if str(name).startswith("blocks.")}
    if config.n_layer != len(layers):  # before a model of so many is made
        raise InputError(f"{path}: the weights do not fit the config: {len(layers)} layers, not {config.n_layer}", HINT)
    with torch.device("meta"):
        model = GPT(config, dropout=dropout)
    check_tensors(model.state_dict(), document["state_dict"], str(path), HINT)
    model.load_state_dict(document["state_dict"], assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.to(device).eval()
    return Checkpoint(model, config, document["tokenizer"], run, sha256_file(path), path)


def refuse_nanochat(path: Path, document: Any = None) -> None:
    """Raise InputError, by name, for a directory of nanochat's model_STEP.pt or for what such a file holds."""
    named = isinstance(document, dict) and any("attn.c_q.weight" in str(name) for name in document)  # pyright: ignore
    if named or any(path.glob("model_[0-9]*.pt")):
        raise InputError(
            f"{path}: a nanochat checkpoint: this decoder and `transformers` lack its value embeddings, gates and "
            "residual scales",
            "of its models, those converted for `transformers` (model_type nanochat) can be opened",
        )


def made_by(path: Path) -> CheckpointRun | None:
    """The record of the run that made a checkpoint; None where none stands there, or none that can be read."""
    try:
        return load(path).run if path.is_file() else None
    except InputError:
        return None
