"""Fine-tuning learning-rate tolerance: how low a short fine-tuning gets at each rate, and how wide the good range is.

A copy of the model is trained on the same items in the same order at each rate; the loss is that of held-out answers.
A rate that suits one base model and not another makes a gap that no property of the bases' knowledge explains (longer
pretraining narrows the good range: Springer et al. 2025, arXiv 2503.19206).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from tiktoken import Encoding
from torch import Tensor

from pretrain.model.decoder import GPT
from pretrain.probes.instructions import AskedItem
from pretrain.probes.items import answer_losses
from pretrain.probes.measure import mean_of, measure
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
NEAR_NATS = 0.1


@probe("tolerance", only_when_named=True)
def of_subject(subject: Subject) -> dict[str, Any]:
    """The loss of held-out answers over learning rates, trained on the items that are not held out."""
    everything, test = subject.items
    asked = {item.question for item in test}
    train = [item for item in everything if item.question not in asked]
    return rate_curve(subject.model, subject.encoding, train, test, seed=subject.options.seed)


def rate_curve(
    model: GPT,
    encoding: Encoding,
    train: Sequence[AskedItem],
    held_out: Sequence[AskedItem],
    rates: Sequence[float] = RATES,
    steps: int = 60,
    batch: int = 16,
    seed: int = 0,
) -> dict[str, Any]:
    """Held-out answer loss after `steps` of AdamW at each rate (10 % warm-up, then linear to 0); the model is kept."""
    held = list(held_out)[:200]
    keys = [one.id or one.question for one in held]
    curve: list[dict[str, Any]] = []
    best: list[float] = []
    for rate in rates:
        tuned = fine_tune(model, encoding, train, rate, steps, batch, seed)
        losses = answer_losses(tuned, encoding, [(one.question, one.answer) for one in held])
        mean = sum(losses) / len(losses)
        curve.append({"lr": rate, "loss": mean if math.isfinite(mean) else None})
        if math.isfinite(mean) and (not best or mean < sum(best) / len(best)):
            best = losses
    finite = [one for one in curve if one["loss"] is not None]
    lowest = min(finite, key=lambda one: one["loss"], default=None)
    if lowest is None:
        return {"measures": {}, "curve": curve}
    near = [math.log10(one["lr"]) for one in finite if one["loss"] <= lowest["loss"] + NEAR_NATS]
    return {
        "measures": {
            "best_loss": mean_of(best, unit="nats per token", keys=keys),
            "best_log10_rate": measure(math.log10(lowest["lr"]), unit="log10"),
            "width": measure(max(near) - min(near), unit="decades of learning rate"),
        },
        "curve": curve,
        "steps": steps,
    }


def fine_tune(
    model: GPT, encoding: Encoding, items: Sequence[AskedItem], rate: float, steps: int, batch: int, seed: int
) -> GPT:
    """A copy of the model trained on the items' answers."""
    tuned = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    rows = [_row(encoding, one, model.config.context) for one in items]
    for step in range(steps):
        warm = max(1, steps // 10)
        scale = min(1.0, (step + 1) / warm, (steps - step) / max(1, steps - warm))
        for group in optimizer.param_groups:
            group["lr"] = rate * scale
        chosen = torch.randint(0, len(rows), (batch,), generator=generator).tolist()
        ids, targets = _collate([rows[index] for index in chosen], encoding.eot_token)
        optimizer.zero_grad()
        loss = tuned(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned.parameters(), 1.0)
        optimizer.step()
    return tuned.eval()


def _row(encoding: Encoding, item: AskedItem, context: int) -> tuple[list[int], int]:
    after = [*encoding.encode_ordinary(f"\n{item.answer}")[: context - 2], encoding.eot_token]
    before = [encoding.eot_token, *encoding.encode_ordinary(item.question)][-(context + 1 - len(after)) :]
    return [*before, *after], len(after)


def _collate(rows: Sequence[tuple[list[int], int]], eot: int) -> tuple[Tensor, Tensor]:
    longest = max(len(tokens) for tokens, _ in rows)
    ids = torch.full((len(rows), longest - 1), eot)
    targets = torch.full((len(rows), longest - 1), -100)
    for line, (tokens, count) in enumerate(rows):
        ids[line, : len(tokens) - 1] = torch.tensor(tokens[:-1])
        targets[line, len(tokens) - 1 - count : len(tokens) - 1] = torch.tensor(tokens[-count:])
    return ids, targets
