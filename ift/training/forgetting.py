"""What fine-tuning did to the base: what was forgotten of the pretraining text, and how far the weights moved."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from equiloss.console import warn
from equiloss.errors import InputError
from equiloss.records.ift_run import WeightDistance
from pretrain.model.checkpoint import Checkpoint
from pretrain.model.decoder import GPT
from pretrain.training.distributed import World

SAMPLE_TOKENS = 8192


def pretraining_sample(base: Checkpoint) -> torch.Tensor | None:
    """Evenly spaced windows (n, context + 1) of the pretraining test text, where its shards are still there."""
    from pretrain.data.shards import Shards

    directory = base.run.data.directory if base.run.data else ""
    if not directory or not (Path(directory) / "data.json").exists():
        return None
    try:
        tokens = Shards.open(Path(directory)).split("test").tokens
    except InputError as error:
        warn(f"no loss on the pretraining text: {error}")
        return None
    length = base.config.context + 1
    count = min(max(1, SAMPLE_TOKENS // length), len(tokens) // length)
    if not count:
        return None
    starts = torch.linspace(0, len(tokens) - length, count).long().tolist()
    return torch.stack([torch.from_numpy(tokens[start : start + length].astype("int64")) for start in starts])


@torch.no_grad()
def sample_loss(model: GPT, sample: torch.Tensor | None, world: World) -> float | None:
    """The mean loss of the sample in nats per token; what rises here was forgotten."""
    if sample is None:
        return None
    training = model.training
    model.eval()
    total = sum(
        float(model.loss_sum(part[:, :-1].to(world.device), part[:, 1:].to(world.device))[0])
        for part in sample.split(16)
    )
    model.train(training)
    return total / sample[:, 1:].numel()


def weight_distance(before: dict[str, torch.Tensor], model: nn.Module) -> WeightDistance:
    """How far the weights moved: the norm of the change over the norm of the base, in all and by parameter."""
    by_name: dict[str, float] = {}
    moved = size = 0.0
    for name, value in model.state_dict().items():
        change, norm = float((value - before[name]).double().norm()), float(before[name].double().norm())
        moved, size = moved + change**2, size + norm**2
        by_name[name] = change / norm if norm else change
    return WeightDistance(relative=(moved / size) ** 0.5, by_parameter=by_name)
