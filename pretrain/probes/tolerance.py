"""Fine-tuning learning-rate tolerance: how low a short fine-tuning gets at each rate, and how wide the good range is.

A copy of the model is trained on the same items in the same order at each rate; the loss is that of held-out answers.
A rate that suits one base model and not another makes a gap that no property of the bases' knowledge explains (longer
pretraining narrows the good range: Springer et al. 2025, arXiv 2503.19206).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from statistics import fmean

import torch

from equiloss.records.probe import Measure, ProbeResult
from pretrain.model.language_model import LanguageModel, TextEncoding
from pretrain.probes.completions import padded, row_of
from pretrain.probes.instructions import AskedItem
from pretrain.probes.items import answer_losses
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
NEAR_NATS = 0.1


@probe("tolerance", only_when_named=True)
def of_subject(subject: Subject) -> ProbeResult:
    """The loss of held-out answers over learning rates, trained on the items that are not held out."""
    everything, test = subject.items
    asked = {item.question for item in test}
    train = [item for item in everything if item.question not in asked]
    return rate_curve(subject.model, subject.encoding, train, test, seed=subject.options.seed)


def rate_curve(
    model: LanguageModel,
    encoding: TextEncoding,
    train: Sequence[AskedItem],
    held_out: Sequence[AskedItem],
    rates: Sequence[float] = RATES,
    steps: int = 60,
    batch: int = 16,
    seed: int = 0,
) -> ProbeResult:
    """Held-out answer loss after `steps` of AdamW at each rate (10 % warm-up, then linear to 0); the model is kept."""
    held = list(held_out)[:200]
    keys = [item.key for item in held]
    curve: list[tuple[float, float | None]] = []
    best: list[float] = []
    for rate in rates:
        tuned = fine_tune(model, encoding, train, rate, steps, batch, seed)
        losses = answer_losses(tuned, encoding, [(item.question, item.answer) for item in held])
        mean = fmean(losses)
        curve.append((rate, mean if math.isfinite(mean) else None))
        if math.isfinite(mean) and (not best or mean < fmean(best)):
            best = losses
    finite = [(loss, math.log10(rate)) for rate, loss in curve if loss is not None]
    shown = [{"lr": rate, "loss": loss} for rate, loss in curve]
    if not finite:
        return ProbeResult.of({}, curve=shown)
    lowest, best_rate = min(finite)
    near = [rate for loss, rate in finite if loss <= lowest + NEAR_NATS]
    measures = {
        "best_loss": Measure.mean_of(best, unit="nats per token", keys=keys),
        "best_log10_rate": Measure(value=best_rate, unit="log10"),
        "width": Measure(value=max(near) - min(near), unit="decades of learning rate"),
    }
    return ProbeResult.of(measures, curve=shown, steps=steps)


def fine_tune(
    model: LanguageModel,
    encoding: TextEncoding,
    items: Sequence[AskedItem],
    rate: float,
    steps: int,
    batch: int,
    seed: int,
) -> LanguageModel:
    """A copy of the model trained on the items' answers."""
    tuned = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    context = model.context
    rows = [row_of(encoding, item.question, f"\n{item.answer}", context, end=True) for item in items]
    for step in range(steps):
        warm = max(1, steps // 10)
        scale = min(1.0, (step + 1) / warm, (steps - step) / max(1, steps - warm))
        for group in optimizer.param_groups:
            group["lr"] = rate * scale
        chosen = torch.randint(0, len(rows), (batch,), generator=generator).tolist()
        ids, targets = padded([rows[index] for index in chosen], encoding.eot_token)
        optimizer.zero_grad()
        loss = tuned(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned.parameters(), 1.0)
        optimizer.step()
    return tuned.eval()
