"""Several texts in one flat row: no padding in the layers, attention within each text, a common beginning only once.

Everything but attention works token by token, so texts of different lengths lie end to end in one row (1, N, C).
Attention gathers texts of like length into small batches and puts the result back. Texts that begin alike, as prompts
of one template do, share that beginning: its tokens go through the model once, and every text attends to them. The
result equals that of each text alone, up to rounding, gradients included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pretrain.model.attention import Heads

if TYPE_CHECKING:
    from pretrain.model.language_model import LanguageModel

SHORTEST_PREFIX = 8
"""A common beginning shorter than this is not worth an attention call of its own."""
MOST_BRANCHINGS = 32
"""Beginnings are looked for along so many branchings."""
KEEP_TOGETHER = 0.7
"""Texts at least this share as long as the longest of their batch are padded to it."""


@dataclass(frozen=True)
class Prefix:
    """A common beginning: where its tokens lie in the flat row."""

    start: int
    length: int


@dataclass(frozen=True)
class Group:
    """Texts that attend as one batch, padded on the right: own tokens, after the same prefix."""

    slots: Tensor
    """(n, L): where each own token lies in the flat row; padding repeats a token."""
    places: Tensor
    """(M,): the places in n × L that are no padding, in the order of `rows`."""
    rows: Tensor
    """(M,): where those tokens lie in the flat row."""
    prefix: Prefix | None
    masks: dict[int | None, Tensor | None] = field(default_factory=dict[int | None, Tensor | None])

    def mask(self, heads: Heads) -> Tensor | None:
        """(L, P + L), true where a query of these heads may look; None: causal. Equal heads get it made once."""
        before = self.prefix.length if self.prefix else 0
        if heads.window not in self.masks:
            self.masks[heads.window] = heads.mask(self.slots.shape[1], before, self.slots.device)
        return self.masks[heads.window]


class Packed:
    """Texts (lists of ids) as one row, and how it attends. `share` common beginnings, or keep each text whole.

    `ids`, `positions` (1, N); `index[i]` (length of text i,) says where text i's tokens lie in the row.
    """

    def __init__(self, texts: Sequence[Sequence[int]], share: bool = True, device: torch.device | None = None) -> None:
        flat: list[int] = []
        positions: list[int] = []
        own: dict[Prefix | None, list[tuple[int, int]]] = defaultdict(list)  # (start in the row, length)
        index: list[list[int]] = [[] for _ in texts]
        for members, length in common_beginnings(texts) if share else [(list(range(len(texts))), 0)]:
            prefix = None
            if length:
                prefix = Prefix(len(flat), length)
                own[None].append((len(flat), length))
                flat.extend(texts[members[0]][:length])
                positions.extend(range(length))
            for member in members:
                text = texts[member]
                own[prefix].append((len(flat), len(text) - length))
                before = range(prefix.start, prefix.start + length) if prefix else ()
                index[member] = [*before, *range(len(flat), len(flat) + len(text) - length)]
                flat.extend(text[length:])
                positions.extend(range(length, len(text)))
        self.ids = torch.tensor([flat], device=device)
        self.positions = torch.tensor([positions], device=device)
        self.index = [torch.tensor(places, device=device) for places in index]
        self.groups = [
            _group(batch, prefix, device) for prefix, stretches in own.items() for batch in _alike(stretches)
        ]

    def attend(self, qkv: Tensor, heads: Heads, dropout: float = 0.0) -> Tensor:
        """Attention of the row with itself: qkv (1, N, (H + 2K) D) to (1, N, HD). What `backbone` takes as its mask."""
        total, flat = qkv.shape[1], qkv[0]
        results = []
        for group in self.groups:
            n, length = group.slots.shape
            rows = _Gather.apply(flat, group.slots, group.places, group.rows)  # (n × L, (H + 2K) D)
            q, k, v = (x.transpose(1, 2) for x in heads.split(rows.view(n, length, -1)))  # (n, H or K, L, D)
            if group.prefix is not None:
                before = flat[None, group.prefix.start : group.prefix.start + group.prefix.length]
                _, pk, pv = (x.transpose(1, 2) for x in heads.split(before))  # (1, K, P, D)
                k = torch.cat((pk.expand(n, -1, -1, -1), k), dim=2)
                v = torch.cat((pv.expand(n, -1, -1, -1), v), dim=2)
            y = heads.product(q, k, v, group.mask(heads), dropout)
            results.append(y.transpose(1, 2).reshape(n * length, -1))
        return _Scatter.apply(total, self.groups, *results)[None]

    def hidden(self, model: LanguageModel) -> Tensor:
        """The hidden states (N, C) of the row."""
        return model.backbone(self.ids, self.positions, self.attend)[0]


class Padded:
    """Texts in batches of like length, padded on the right, where a model cannot take them packed.

    `index[i]` says where text i's tokens lie in the rows laid end to end; what follows a text is not seen from it.
    """

    def __init__(self, texts: Sequence[Sequence[int]], device: torch.device | None = None) -> None:
        self.batches: list[Tensor] = []
        places: dict[int, Tensor] = {}
        start = 0
        for batch in _alike([(number, len(text)) for number, text in enumerate(texts)]):
            width = batch[0][1]
            rows = [[*texts[number], *[texts[number][-1]] * (width - length)] for number, length in batch]
            self.batches.append(torch.tensor(rows, device=device))
            for number, length in batch:
                places[number] = torch.arange(start, start + length, device=device)
                start += width
        self.index = [places[number] for number in range(len(texts))]

    def hidden(self, model: LanguageModel) -> Tensor:
        """The hidden states (N, C) of the rows laid end to end, padding included."""
        return torch.cat([model.backbone(ids).flatten(0, 1) for ids in self.batches])


class _Gather(torch.autograd.Function):
    """Rows of a flat row as a padded batch. Each token comes once, so the gradient is a copy, not a sum."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, slots: Tensor, places: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(places, rows)
        ctx.shape = flat.shape
        return flat.index_select(0, slots.flatten())

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        places, rows = ctx.saved_tensors
        grad = grad_outputs[0].new_zeros(ctx.shape)
        grad[rows] = grad_outputs[0].index_select(0, places)
        return grad, None, None, None


class _Scatter(torch.autograd.Function):
    """The padded batches put back into one flat row (N, C)."""

    @staticmethod
    def forward(ctx: Any, total: int, groups: Sequence[Group], *batches: Tensor) -> Tensor:
        ctx.groups = groups
        ctx.sizes = [len(batch) for batch in batches]
        flat = batches[0].new_empty(total, batches[0].shape[1])
        for group, batch in zip(groups, batches, strict=True):
            flat[group.rows] = batch.index_select(0, group.places)
        return flat

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        flat = grad_outputs[0]
        grads = []
        for group, size in zip(ctx.groups, ctx.sizes, strict=True):
            grad = flat.new_zeros(size, flat.shape[1])
            grad[group.places] = flat.index_select(0, group.rows)
            grads.append(grad)
        return (None, None, *grads)


def common_beginnings(texts: Sequence[Sequence[int]]) -> list[tuple[list[int], int]]:
    """Texts by their common beginning: (numbers of the texts, tokens in common), 0 where sharing would save nothing.

    Texts that go on alike in parts, as prompts with and without an input do, are grouped part by part where that
    leaves fewer tokens. Every text keeps at least its last token to itself.
    """
    groups, alone = _shared(texts, list(range(len(texts))), 0)
    return [*groups, (sorted(alone), 0)] if alone else groups


Shared = tuple[list[tuple[list[int], int]], list[int]]
"""Groups with what is common to each, and the texts that are in none."""


def _shared(texts: Sequence[Sequence[int]], members: list[int], depth: int) -> Shared:
    """The better of: all by what is common to all; or group by group of those that go on alike, the rest by that."""
    if len(members) < 2:
        return [], members
    first = texts[members[0]]
    common = min(len(texts[member]) for member in members) - 1
    for member in members[1:]:
        text = texts[member]
        common = next((i for i in range(common) if text[i] != first[i]), common)
    found = [_together(members, common)]
    if depth < MOST_BRANCHINGS:
        branches: dict[int, list[int]] = defaultdict(list)
        ended: list[int] = []
        for member in members:
            (branches[texts[member][common]] if len(texts[member]) > common + 1 else ended).append(member)
        apart = [_shared(texts, branch, depth + 1) for branch in branches.values()]
        groups, rest = _together([*ended, *(member for _, alone in apart for member in alone)], common)
        found.append(([*(group for inner, _ in apart for group in inner), *groups], rest))
    return max(found, key=_saved)


def _together(members: list[int], common: int) -> Shared:
    return ([(members, common)], []) if common >= SHORTEST_PREFIX and len(members) > 1 else ([], members)


def _saved(shared: Shared) -> int:
    """Tokens that go through the model once less, less what an attention call of its own is worth."""
    return sum((len(members) - 1) * common - SHORTEST_PREFIX for members, common in shared[0])


def _alike(stretches: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Stretches (start, length) sorted by length and cut where padding to the longest would waste too much."""
    batches: list[list[tuple[int, int]]] = []
    for stretch in sorted(stretches, key=lambda stretch: -stretch[1]):
        if not batches or stretch[1] < KEEP_TOGETHER * batches[-1][0][1] - 4:
            batches.append([])
        batches[-1].append(stretch)
    return batches


def _group(stretches: Sequence[tuple[int, int]], prefix: Prefix | None, device: torch.device | None) -> Group:
    longest = stretches[0][1]
    starts = torch.tensor([start for start, _ in stretches], device=device)[:, None]
    lengths = torch.tensor([length for _, length in stretches], device=device)[:, None]
    offsets = torch.arange(longest, device=device)[None]
    slots = starts + torch.minimum(offsets, lengths - 1)  # (n, L)
    places = (offsets < lengths).flatten().nonzero()[:, 0]
    return Group(slots, places, slots.flatten()[places], prefix)
