"""Forgetting: how much the loss on pretraining text rises through fine-tuning, and how far the weights moved."""

from __future__ import annotations

import torch
from torch import Tensor

from equiloss.records.probe import Measure, ProbeResult
from pretrain.model.language_model import LanguageModel
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject
from pretrain.probes.windows import token_losses


@probe("forgetting")
def of_subject(subject: Subject) -> ProbeResult:
    """What the fine-tuned model forgot of the test text."""
    return rise_and_distance(subject.model, subject.tuned, subject.windows)


@torch.no_grad()
def rise_and_distance(model: LanguageModel, tuned: LanguageModel, rows: Tensor) -> ProbeResult:
    """The rise in loss on windows (N, T+1) from the base to the fine-tuned model, and ||W' - W|| / ||W||."""
    rises = (token_losses(tuned, rows) - token_losses(model, rows)).mean(dim=1).tolist()
    moved = total = 0.0
    after = dict(tuned.named_parameters())
    for name, before in model.named_parameters():
        moved += float((after[name] - before).float().pow(2).sum())
        total += float(before.float().pow(2).sum())
    measures = {
        "rise": Measure.mean_of(rises, unit="nats", keys=[str(number) for number in range(len(rises))]),
        "distance": Measure(value=(moved / total) ** 0.5, unit="of the base weights' norm"),
    }
    return ProbeResult.of(measures)
