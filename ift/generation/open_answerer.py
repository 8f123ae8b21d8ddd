"""Which model a path or a name stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import JsonValue

from equiloss.errors import InputError
from ift.generation.answerer import Answerer
from ift.generation.checkpoint_answerer import open_checkpoint
from ift.generation.huggingface_answerer import HuggingFaceAnswerer


def open_answerer(
    model: str, template: str | None, decoding: Mapping[str, JsonValue], device: torch.device
) -> Answerer:
    """Open a directory of `ift run`, a checkpoint.pt, or a Hugging Face model (a directory or a name on the Hub).

    `decoding` overrides what the model was trained with. Raises: InputError when it is none of these.
    """
    path = Path(model)
    if path.is_dir() and (path / "checkpoint.pt").exists():
        path = path / "checkpoint.pt"
    if path.is_file():
        return open_checkpoint(path, template, decoding, device)
    if path.is_dir() and not (path / "config.json").exists():
        raise InputError(f"{model}: holds neither checkpoint.pt nor config.json", "name a model's directory")
    if not path.is_dir() and (model.count("/") != 1 or path.suffix == ".pt"):
        raise InputError(f"{model}: no such model", "name a directory, a checkpoint.pt, or OWNER/NAME on the Hub")
    return HuggingFaceAnswerer(model, template, decoding, device)
