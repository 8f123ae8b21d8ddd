"""Forgetting: how much the loss on pretraining text rises through fine-tuning, and how far the weights moved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pretrain.model.decoder import GPT
from pretrain.probes.measure import mean_of, measure
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject
from pretrain.probes.windows import token_losses


@probe("forgetting")
def of_subject(subject: Subject) -> dict[str, Any]:
    """What the fine-tuned model forgot of the test text."""
    return rise_and_distance(subject.model, subject.tuned, subject.windows)


@torch.no_grad()
def rise_and_distance(model: GPT, tuned: GPT, rows: Tensor) -> dict[str, Any]:
    """The rise in loss on windows (N, T+1) from the base to the fine-tuned model, and ||W' - W|| / ||W||."""
    rises = (token_losses(tuned, rows) - token_losses(model, rows)).mean(dim=1).tolist()
    moved = total = 0.0
    after = dict(tuned.named_parameters())
    for name, before in model.named_parameters():
        moved += float((after[name] - before).float().pow(2).sum())
        total += float(before.float().pow(2).sum())
    return {
        "measures": {
            "rise": mean_of(rises, unit="nats", keys=[str(number) for number in range(len(rises))]),
            "distance": measure((moved / total) ** 0.5, unit="of the base weights' norm"),
        }
    }
