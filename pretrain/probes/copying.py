"""Copying: does the model continue a random sequence that it has seen once, and do heads look where that needs?

A sequence of random tokens is shown twice (Olsson et al. 2022, arXiv 2209.11895). `accuracy` and `loss` are over the
second showing from its second token on; `lift` is the first showing's loss minus the second's. `induction_score` is the
attention from each token of the second showing to the one after its first occurrence, in the head that has most of it
(of the own decoder alone).

Random sequences are strange to a model of a small, regular world. `text_accuracy` and `text_loss` are over the tokens
of the test text that induction predicts (`pretrain.data.induction`), in windows that hold some.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from equiloss.records.probe import Measure, ProbeResult
from pretrain.data.induction import predicted
from pretrain.model.decoder import GPT
from pretrain.model.language_model import LanguageModel
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject
from pretrain.probes.windows import batches, token_losses


@probe("copying")
def of_subject(subject: Subject) -> ProbeResult:
    """Copying of random sequences of the test text's tokens, and within the test text."""
    seen = torch.from_numpy(np.unique(subject.test_tokens).astype(np.int64))
    vocabulary = seen[seen != subject.encoding.eot_token]
    return copied(subject.model, vocabulary, subject.windows, seed=subject.options.seed)


@torch.no_grad()
def copied(
    model: LanguageModel,
    vocabulary: Tensor,
    text: Tensor | None = None,
    sequences: int = 64,
    length: int | None = None,
    seed: int = 0,
) -> ProbeResult:
    """Copying of random sequences of `length` tokens from `vocabulary` (K,), and within windows of `text` (N, T+1).

    `length`: by default 32, or what fits the context twice.
    """
    length = length or min(32, model.context // 2 - 1)
    generator = torch.Generator().manual_seed(seed)
    first = vocabulary[torch.randint(0, len(vocabulary), (sequences, length), generator=generator)]
    rows = torch.cat([first, first], dim=1)  # (N, 2L)
    losses = token_losses(model, rows)  # (N, 2L-1): entry t is the loss of token t+1
    again = losses[:, length:]  # tokens 1.. of the second showing
    guesses = model(rows[:, :-1]).argmax(-1)[:, length:]
    right = (guesses == rows[:, length + 1 :]).float().mean(dim=1)
    lift = losses[:, : length - 1].mean(dim=1) - again.mean(dim=1)
    keys = [str(number) for number in range(sequences)]
    scores = induction_scores(model, rows, length) if isinstance(model, GPT) else None
    measures = {
        "accuracy": Measure.mean_of(right.tolist(), unit="share of tokens", keys=keys),
        "loss": Measure.mean_of(again.mean(dim=1).tolist(), unit="nats", keys=keys),
        "lift": Measure.mean_of(lift.tolist(), unit="nats", keys=keys),
        **({} if scores is None else {"induction_score": _most(scores, sequences)}),
        **({} if text is None else _in_text(model, text)),
    }
    return ProbeResult.of(measures, heads=None if scores is None else scores.tolist(), length=length)


def _most(scores: Tensor, sequences: int) -> Measure:
    return Measure(value=float(scores.max()), unit="share of attention", n=sequences)


def _in_text(model: LanguageModel, text: Tensor) -> dict[str, Measure]:
    """Accuracy and loss on the tokens of windows (N, T+1) that induction predicts; {} where there are none."""
    chosen = predicted(text)
    right = torch.cat([model(part[:, :-1]).argmax(-1) for part in batches(text)]) == text[:, 1:]
    losses = token_losses(model, text)
    rows = chosen.any(dim=1).nonzero()[:, 0].tolist()
    if not rows:
        return {}
    keys = [f"window {row}" for row in rows]
    accuracy = [float(right[row][chosen[row]].float().mean()) for row in rows]
    loss = [float(losses[row][chosen[row]].mean()) for row in rows]
    return {
        "text_accuracy": Measure.mean_of(accuracy, unit="share of tokens", keys=keys),
        "text_loss": Measure.mean_of(loss, unit="nats", keys=keys),
    }


@torch.no_grad()
def induction_scores(model: GPT, rows: Tensor, length: int) -> Tensor:
    """Mean attention (layers, heads) from position L+i to i+1, for i from 0 to L-2, in rows (N, 2L)."""
    at = torch.arange(length - 1)
    layers = attention(model, rows)  # each (N, H, T, T)
    return torch.stack([weights[:, :, length + at, at + 1].mean(dim=(0, 2)) for weights in layers])


@torch.no_grad()
def attention(model: GPT, rows: Tensor) -> list[Tensor]:
    """The attention weights of every layer, each (N, H, T, T), by softmax(QK'/sqrt(D)) under the causal mask."""
    inputs: list[Tensor] = []

    def keep(_: Any, __: Any, output: Tensor) -> None:
        inputs.append(output)

    hooks = [block.attention.qkv.register_forward_hook(keep) for block in model.blocks]  # type: ignore[union-attr]
    try:
        model.backbone(rows)
    finally:
        for hook in hooks:
            hook.remove()
    weights: list[Tensor] = []
    for qkv in inputs:
        n, t, width = qkv.shape
        heads, size = model.config.n_head, width // 3 // model.config.n_head
        q, k, _ = qkv.view(n, t, 3, heads, size).permute(2, 0, 3, 1, 4).unbind(0)  # each (N, H, T, D)
        scores = q.float() @ k.float().transpose(-1, -2) / size**0.5
        causal = torch.ones(t, t, dtype=torch.bool).tril()
        weights.append(scores.masked_fill(~causal, float("-inf")).softmax(dim=-1))
    return weights
