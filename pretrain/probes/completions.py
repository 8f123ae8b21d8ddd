"""How a base model completes texts: whether greedy decoding would give the continuation, and the loss of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.model.cross_entropy import IGNORE
from pretrain.model.language_model import LanguageModel, TextEncoding

BATCH = 64
Row = tuple[list[int], int]
"""Ids behind an end of text, and how many at their end are the continuation's."""


@dataclass(frozen=True)
class Completion:
    """A continuation as the model sees it: all tokens the likeliest ones, its summed loss in nats, its tokens."""

    greedy: bool
    nats: float
    tokens: int


@torch.no_grad()
def complete(model: LanguageModel, encoding: TextEncoding, pairs: Sequence[tuple[str, str]]) -> list[Completion]:
    """Each text's continuation, both as text; a text too long for the context loses its beginning."""
    rows = [row_of(encoding, text, continuation, model.context) for text, continuation in pairs]
    completions: dict[int, Completion] = {}
    order = sorted(range(len(rows)), key=lambda number: len(rows[number][0]))
    for start in range(0, len(order), BATCH):
        numbers = order[start : start + BATCH]
        ids, targets = padded([rows[number] for number in numbers], encoding.eot_token)
        logits = model(ids).float()  # (B, T, V); padding on the right is not seen
        losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=IGNORE)  # (B, T)
        greedy = ((logits.argmax(-1) == targets) | (targets == IGNORE)).all(dim=1)
        for number, right, nats in zip(numbers, greedy.tolist(), losses.sum(dim=1).tolist(), strict=True):
            completions[number] = Completion(right, nats, rows[number][1])
    return [completions[number] for number in range(len(rows))]


def row_of(encoding: TextEncoding, text: str, continuation: str, context: int, end: bool = False) -> Row:
    """A text and its continuation in at most `context` ids (with the closing end of text, one more)."""
    after = encoding.encode_ordinary(continuation)[: context - 1 - end] + [encoding.eot_token] * end
    first: int = getattr(encoding, "before_text", encoding.eot_token)
    before = [first, *encoding.encode_ordinary(text)][-(context + end - len(after)) :]
    return [*before, *after], len(after)


def padded(rows: Sequence[Row], padding: int) -> tuple[Tensor, Tensor]:
    """Inputs (B, T) and targets (B, T) of the continuations alone, padded on the right."""
    longest = max(len(ids) for ids, _ in rows) - 1
    inputs, targets = torch.full((len(rows), longest), padding), torch.full((len(rows), longest), IGNORE)
    for line, (ids, count) in enumerate(rows):
        inputs[line, : len(ids) - 1] = torch.tensor(ids[:-1])
        targets[line, len(ids) - 1 - count : len(ids) - 1] = torch.tensor(ids[-count:])
    return inputs, targets
