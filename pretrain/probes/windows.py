"""Text to probe with: windows of a test split, and the loss of each token in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiloss.errors import InputError
from pretrain.model.language_model import LanguageModel

BATCH_TOKENS = 16_384


def windows(tokens: NDArray[np.unsignedinteger], context: int, most_tokens: int) -> Tensor:
    """Evenly spaced windows (N, T+1) of at most `most_tokens` predicted tokens; the same for every model.

    Raises: InputError when the text is shorter than one window.
    """
    length = min(context, len(tokens) - 1)
    if length < 2:
        raise InputError("the test split is too short to probe with", "give data with a larger test split")
    count = max(1, min(most_tokens // length, (len(tokens) - 1) // length))
    starts = np.linspace(0, len(tokens) - 1 - length, count).astype(np.int64)
    return torch.from_numpy(np.stack([tokens[s : s + length + 1].astype(np.int64) for s in starts]))


def batches(rows: Tensor) -> Iterator[Tensor]:
    """The rows in batches that fit memory."""
    size = max(1, BATCH_TOKENS // rows.shape[1])
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


@torch.no_grad()
def token_losses(model: LanguageModel, rows: Tensor) -> Tensor:
    """The loss in nats (N, T) of every token of the windows (N, T+1) but the first."""
    parts: list[Tensor] = []
    for batch in batches(rows):
        logits = model(batch[:, :-1]).float()  # (B, T, V)
        parts.append(torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none"))
    return torch.cat(parts)


def mean_loss(model: LanguageModel, rows: Tensor) -> float:
    """The mean loss in nats over all tokens of the windows (N, T+1) but the first."""
    return float(token_losses(model, rows).mean())
