"""Which model a path or a name stands for."""

from __future__ import annotations

from pathlib import Path

import torch

from equiloss.errors import InputError
from pretrain.model import checkpoint, huggingface
from pretrain.model.checkpoint import NAME
from pretrain.model.language_model import LoadedModel


def open_model(source: Path | str, device: str | torch.device = "cpu") -> LoadedModel:
    """Open a checkpoint.pt or a directory with one, a model of Hugging Face in a directory or of the Hub, or a GGUF.

    Raises: InputError when it is none of these.
    """
    path = Path(source)
    if (path / NAME).is_file():
        path = path / NAME
    if path.exists() and huggingface.is_one(path):
        return huggingface.load(path, device)
    if path.is_dir():
        checkpoint.refuse_nanochat(path)
        raise InputError(f"{source}: holds neither {NAME} nor config.json", "name a model's directory")
    if path.exists() or path.suffix in (".pt", ".pth", ".safetensors", ".gguf"):
        return checkpoint.load(path, device)
    if str(source).count("/") != 1:
        raise InputError(f"{source}: no such model", "name a directory, a checkpoint.pt, or OWNER/NAME on the Hub")
    return huggingface.load(str(source), device)
