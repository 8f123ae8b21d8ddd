"""The loss of every token of some documents, summed by document and by what kind of token it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from equiloss.errors import InputError
from equiloss.records.evaluation import CONFIDENCE_BINS, DECILES
from pretrain.data.shards import TokenSplit
from pretrain.model.cross_entropy import CHUNK_ELEMENTS, IGNORE
from pretrain.model.language_model import LanguageModel
from pretrain.model.precision import Precision, autocast, set_matmul_precision

BATCH_TOKENS = 8192
Array = NDArray[Any]


@dataclass(frozen=True)
class Window:
    """A stretch of one document: `length` inputs whose last `scored` positions are predictions that count.

    `start`: the place in the document of the first input's target.
    """

    document: int
    start: int
    length: int
    scored: int


def windows_over(lengths: Array, context: int, stride: int) -> Iterator[Window]:
    """The windows over documents of these lengths in tokens (D,): each token is scored in exactly one."""
    for document, n in enumerate(lengths.tolist()):
        end = min(n, context)
        yield Window(document, 0, end, end)
        while end < n:
            new = min(stride, n - end)
            end += new
            yield Window(document, end - context, context, new)


def batches(windows: list[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Windows of like length together, at most `batch_tokens` padded tokens in each batch, at least one window."""
    ordered = sorted(windows, key=lambda w: (-w.length, w.document, w.start))
    start = 0
    while start < len(ordered):
        rows = max(1, batch_tokens // ordered[start].length)
        yield ordered[start : start + rows]
        start += rows


def token_statistics(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    chunk_elements: int = CHUNK_ELEMENTS,
    head: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss in nats, probability of the first guess, and whether it is right, of hidden (N, C): each (N,).

    The logits of `chunk_elements` / V tokens exist at a time; they are reduced in fp32 at least.
    """
    rows = max(1, chunk_elements // weight.shape[0])
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(hidden), rows):
        part = hidden[start : start + rows]
        logits = F.linear(part, weight) if head is None else head(part)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # (rows, V)
        target = targets[start : start + rows]
        logsumexp = logits.logsumexp(1)
        best, guess = logits.max(1)
        nats = logsumexp - logits.gather(1, target[:, None])[:, 0]
        parts.append((nats, (best - logsumexp).exp(), guess == target))
    nats, confidence, correct = zip(*parts, strict=True)
    return torch.cat(nats), torch.cat(confidence), torch.cat(correct)


def frequency_deciles(train: TokenSplit, vocab_size: int) -> Array:
    """For each token id (V,), the tenth of the training text that it falls in when ids are sorted by frequency.

    0: the commonest ids, which make up the first tenth of all training tokens; 9: the rarest, and those never seen.
    """
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(train.tokens), 1 << 24):
        counts += np.bincount(train.tokens[start : start + (1 << 24)], minlength=vocab_size)
    order = np.argsort(-counts, kind="stable")
    mass = counts[order] / max(1, counts.sum())
    middle = np.cumsum(mass) - mass / 2
    deciles = np.empty(vocab_size, np.int64)
    deciles[order] = np.minimum((middle * DECILES).astype(np.int64), DECILES - 1)
    deciles[counts == 0] = DECILES - 1
    return deciles


@torch.no_grad()
def document_sums(
    model: LanguageModel,
    split: TokenSplit,
    chosen: Array,
    deciles: Array,
    end_id: int,
    context: int,
    stride: int,
    precision: Precision,
    batch_tokens: int = BATCH_TOKENS,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Array]:
    """The arrays of `equiloss.records.evaluation` that the model makes, for the `chosen` documents (D,) of a split.

    Raises: InputError when a loss is not finite.
    """
    device = model.head_weight.device
    documents = [np.asarray(split.document(int(i)), dtype=np.int64) for i in chosen]
    lengths = np.array([len(d) for d in documents])
    places = np.floor(np.log2(np.arange(int(lengths.max())) + 1)).astype(np.int64)  # (longest,)
    sums = _empty_sums(len(documents), int(places[-1]) + 1)
    done = 0
    model.eval()
    set_matmul_precision(precision)
    for batch in batches(list(windows_over(lengths, context, stride)), batch_tokens):
        width = batch[0].length
        ids = np.full((len(batch), width), end_id)
        targets = np.full((len(batch), width), IGNORE)
        for number, w in enumerate(batch):
            text = documents[w.document]
            ids[number, :1] = end_id if w.start == 0 else text[w.start - 1]
            ids[number, 1 : w.length] = text[w.start : w.start + w.length - 1]
            first = w.length - w.scored
            targets[number, first : w.length] = text[w.start + first : w.start + w.length]
        row, column = np.nonzero(targets != IGNORE)  # (N,)
        target = targets[row, column]
        document = np.array([w.document for w in batch])[row]
        place = places[np.array([w.start for w in batch])[row] + column]
        with autocast(precision, device):
            hidden = model.backbone(torch.from_numpy(ids).to(device))  # (B, T, C)
            scored = hidden[torch.from_numpy(row), torch.from_numpy(column)]  # (N, C)
            statistics = token_statistics(
                scored, model.head_weight, torch.from_numpy(target).to(device), head=model.head
            )
        nats, confidence, correct = (x.double().cpu().numpy() for x in statistics)
        if not np.isfinite(nats).all():
            raise InputError("the model gives losses that are not finite", "was its training stopped by NaN?")
        _add(sums, document, place, deciles[target], nats, confidence, correct)
        done += len(target)
        if on_progress:
            on_progress(len(documents), done)
    return sums


def _empty_sums(documents: int, positions: int) -> dict[str, Array]:
    shapes = {
        "tokens": (), "nats": (), "correct": (), "decile_tokens": (DECILES,), "decile_nats": (DECILES,),
        "position_tokens": (positions,), "position_nats": (positions,), "confidence_tokens": (CONFIDENCE_BINS,),
        "confidence_sum": (CONFIDENCE_BINS,), "confidence_correct": (CONFIDENCE_BINS,),
    }  # fmt: skip
    return {name: np.zeros((documents, *shape)) for name, shape in shapes.items()}


def _add(
    sums: dict[str, Array], document: Array, place: Array, decile: Array, nats: Array, confidence: Array, correct: Array
) -> None:
    """Add N tokens to the sums of their documents."""
    level = np.minimum((confidence * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
    ones = np.ones_like(nats)
    for name, index, values in (
        ("tokens", document, ones),
        ("nats", document, nats),
        ("correct", document, correct),
        ("decile_tokens", (document, decile), ones),
        ("decile_nats", (document, decile), nats),
        ("position_tokens", (document, place), ones),
        ("position_nats", (document, place), nats),
        ("confidence_tokens", (document, level), ones),
        ("confidence_sum", (document, level), confidence),
        ("confidence_correct", (document, level), correct),
    ):
        np.add.at(sums[name], index, values)
