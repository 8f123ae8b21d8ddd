"""What fine-tuning did to the base: what was forgotten of the pretraining text, and how far the weights moved."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from equiloss.console import warn
from equiloss.errors import InputError
from equiloss.records.ift_run import WeightDistance
from pretrain.data.shards import Shards
from pretrain.model.language_model import LanguageModel, LoadedModel
from pretrain.probes.windows import windows

SAMPLE_TOKENS = 8192


def pretraining_sample(base: LoadedModel, device: torch.device) -> Tensor | None:
    """Windows (N, T+1) of the pretraining test text, where its shards are still there and hold enough."""
    directory = Path(base.run.data.directory) if base.run.data and base.run.data.directory else None
    if directory is None or not (directory / "data.json").exists():
        return None
    try:
        tokens = Shards.open(directory).split("test").tokens
        return windows(tokens, base.model.context, SAMPLE_TOKENS).to(device)
    except InputError as error:
        warn(f"no loss on the pretraining text: {error}")
        return None


def weight_distance(base: LanguageModel, model: LanguageModel) -> WeightDistance:
    """How far the weights moved: the norm of the change over the norm of the base, in all and by parameter.

    A head that was untied began as the base's.
    """
    before = {name: value.detach() for name, value in base.named_parameters()}
    by_name: dict[str, float] = {}
    moved = size = 0.0
    for name, value in model.named_parameters():
        was = before.get(name, base.head_weight.detach())
        change, norm = float((value.detach().to(was.device) - was).double().norm()), float(was.double().norm())
        moved, size = moved + change**2, size + norm**2
        by_name[name] = change / norm if norm else change
    return WeightDistance(relative=(moved / size) ** 0.5, by_parameter=by_name)
