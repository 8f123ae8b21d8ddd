"""Sensitivity to weight noise: how much the loss rises when each weight matrix is disturbed.

Every parameter gets Gaussian noise whose standard deviation is `strength` times the root mean square of its tensor
(Springer et al. 2025, arXiv 2503.19206, disturb weights in the same spirit to show sensitivity growing with
pretraining). The draws are the same for all models of a shape. Descriptive only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equiloss.records.probe import Measure, ProbeResult
from equiloss.seeds import stream
from pretrain.model.language_model import LanguageModel
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject
from pretrain.probes.windows import mean_loss

STRENGTHS = (0.02, 0.05, 0.1)


@probe("noise")
def of_subject(subject: Subject) -> ProbeResult:
    """The rise in loss on 64 windows of the test text."""
    return loss_rises(subject.model, subject.few_windows(64), seed=subject.options.seed)


@torch.no_grad()
def loss_rises(
    model: LanguageModel, rows: Tensor, strengths: Sequence[float] = STRENGTHS, draws: int = 4, seed: int = 0
) -> ProbeResult:
    """The rise in mean loss on windows (N, T+1) at each strength, over `draws`; the model is left as it was."""
    before = mean_loss(model, rows)
    kept = {name: parameter.clone() for name, parameter in model.named_parameters()}
    measures: dict[str, Measure] = {}
    try:
        for strength in strengths:
            rises: list[float] = []
            for draw in range(draws):
                for name, parameter in model.named_parameters():
                    parameter.copy_(kept[name] + disturbance(kept[name], strength, stream(seed, "noise", draw, name)))
                rises.append(mean_loss(model, rows) - before)
            keys = [str(draw) for draw in range(draws)]
            measures[f"rise_at_{strength:g}"] = Measure.mean_of(rises, unit="nats", keys=keys)
    finally:
        for name, parameter in model.named_parameters():
            parameter.copy_(kept[name])
    return ProbeResult.of(measures, loss=before)


def disturbance(weights: Tensor, strength: float, seed: int) -> Tensor:
    """Gaussian noise of standard deviation strength × rms(weights)."""
    generator = torch.Generator().manual_seed(seed)
    scale = strength * float(weights.float().pow(2).mean().sqrt())
    return torch.randn(weights.shape, generator=generator).to(weights) * scale
