"""Choosing the next token of many rows at once: the likeliest, or one drawn by each row's own random numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.model.precision import cpu_has_bf16

BLOCK = 2048
"""Tokens of the vocabulary scored at once in fp32: so few that a block of scores stays in the processor's cache."""
SCREEN = 1024
"""Tokens of the vocabulary that are screened as one."""
MOST_CANDIDATES = 256
"""Candidates per row beyond which screening does not pay."""
BF16_ERROR = 3.02 * 2.0**-8
"""How far a bf16 logit can be from the exact one, relative to |h| |w|: 2^-8 for each factor and for the result (half a
unit in the last of 8 bits), their products, and what fp32 sums add."""
FIRST_RANKS = 256
"""Tokens ranked at first where `top_p` cuts; more where they do not reach it."""


class Head:
    """The matrix (V, C) that scores tokens, made ready for asking only which token is the likeliest.

    On the CPU the fp32 logits of a large vocabulary take longer to write to memory than to compute. Where the processor
    multiplies bf16, all tokens are scored in bf16 first, and only those that rounding could have kept from being the
    likeliest again, in fp32; elsewhere the fp32 logits exist a block at a time. Either way the answer is that of fp32.
    """

    def __init__(self, weight: Tensor, screen: bool | None = None) -> None:
        self.weight = weight
        on_cpu = weight.device.type == "cpu" and len(weight) > BLOCK
        self.blocked = on_cpu
        if screen is None:
            screen = on_cpu and weight.dtype == torch.float32 and cpu_has_bf16()
        self.narrow: Tensor | None = None
        if screen:
            padding = -len(weight) % SCREEN
            self.narrow = F.pad(weight.to(torch.bfloat16), (0, 0, 0, padding))  # (blocks × SCREEN, C)
            self.longest = weight.norm(dim=1).max()

    def likeliest(self, hidden: Tensor) -> Tensor:
        """The ids (B,) with the highest logits of hidden states (B, C); of equal ones the first."""
        if self.narrow is not None and (ids := self._screened(hidden, self.narrow)) is not None:
            return ids
        return self._by_blocks(hidden) if self.blocked else _first_highest(F.linear(hidden, self.weight))

    def _screened(self, hidden: Tensor, narrow: Tensor) -> Tensor | None:
        """By bf16 first; None where too many tokens come close to the likeliest."""
        logits = F.linear(hidden.to(torch.bfloat16), narrow).view(len(hidden), -1, SCREEN)
        logits.view(len(hidden), -1)[:, len(self.weight) :] = -torch.inf
        highest = logits.amax(-1).float()  # (B, blocks)
        error = BF16_ERROR * hidden.norm(dim=1) * self.longest
        least = highest.amax(-1) - 2 * error  # the likeliest in fp32 has no less in bf16
        rows, blocks = (highest >= least[:, None]).nonzero(as_tuple=True)
        close, places = (logits[rows, blocks].float() >= least[rows, None]).nonzero(as_tuple=True)
        if len(close) > MOST_CANDIDATES * len(hidden):
            return None
        rows, ids = rows[close], blocks[close] * SCREEN + places
        exact = (hidden[rows] * self.weight[ids]).sum(-1)
        best = hidden.new_full((len(hidden),), -torch.inf).scatter_reduce(0, rows, exact, "amax")
        first = torch.where(exact == best[rows], ids, len(self.weight))
        chosen = torch.full((len(hidden),), len(self.weight), device=ids.device).scatter_reduce(0, rows, first, "amin")
        return torch.where(chosen < len(self.weight), chosen, 0)  # 0 for a row of NaN

    def _by_blocks(self, hidden: Tensor) -> Tensor:
        best = hidden.new_full((len(hidden),), -torch.inf)
        ids = torch.zeros(len(hidden), dtype=torch.long)
        buffer = hidden.new_empty(len(hidden), BLOCK)
        for start in range(0, len(self.weight), BLOCK):
            block = self.weight[start : start + BLOCK]
            if len(block) == BLOCK:
                logits = torch.mm(hidden, block.T, out=buffer)
            else:
                logits = hidden @ block.T
            highest = logits.amax(-1)
            rows = (highest > best).nonzero()[:, 0]
            if len(rows):
                best[rows] = highest[rows]
                ids[rows] = start + _first_highest(logits[rows])
        return ids


def _first_highest(logits: Tensor) -> Tensor:
    """Argmax over the last dimension; in fp32, since torch's bf16 argmax takes several times as long on the CPU."""
    return logits.float().argmax(-1)


class Chooser:
    """Picks the next token of each row from its hidden state. `uniforms` (B, steps) in [0, 1) draw; none: greedy.

    Temperature divides the logits; `top_k` 0 and `top_p` 1 cut nothing; a repetition penalty above 1 makes tokens
    less likely that the row has written before (Keskar et al. 2019, arXiv 1909.05858). `score`: logits of hidden
    states, where they are more than the product with `head`.
    """

    def __init__(
        self,
        head: Tensor,
        temperature: float,
        top_k: int,
        top_p: float,
        repetition_penalty: float,
        uniforms: np.ndarray | None,
        score: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        plain = uniforms is None and repetition_penalty == 1 and score is None
        self.head = Head(head) if plain else None
        self.score = score or partial(F.linear, weight=head)  # (V, C)
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.repetition_penalty = repetition_penalty
        self.uniforms = None if uniforms is None else torch.from_numpy(uniforms).to(head.device)

    def pick(self, hidden: Tensor, rows: Tensor, step: int, written: Tensor | None) -> Tensor:
        """Ids (B,) from hidden states (B, C).

        `rows` (B,) says whose random numbers to use, `written` (B, t) what the rows have written.
        """
        if self.head is not None:
            return self.head.likeliest(hidden)
        logits = self.score(hidden)
        if self.repetition_penalty != 1 and written is not None:
            before = logits.gather(1, written)
            changed = torch.where(before > 0, before / self.repetition_penalty, before * self.repetition_penalty)
            logits = logits.scatter(1, written, changed)
        if self.uniforms is None:
            return _first_highest(logits)
        return self._draw(logits.float() / self.temperature, self.uniforms[rows, step, None])

    def _draw(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """Ids (B,) drawn by the inverse of the distribution function, cumulated in double precision."""
        size = logits.shape[1]
        if self.top_k and self.top_k < size:
            logits, ids = _ranked(logits, self.top_k)
            share = logits.softmax(-1).double()
        elif self.top_p < 1:
            whole = logits.logsumexp(-1, keepdim=True)
            count = min(FIRST_RANKS, size)
            while True:
                ranked, ids = _ranked(logits, count)
                share = (ranked - whole).exp().double()
                if count == size or bool((share.sum(-1) >= self.top_p).all()):
                    break
                count = min(4 * count, size)
        else:
            share, ids = logits.softmax(-1).double(), None
        if self.top_p < 1:
            before = share.cumsum(-1) - share
            share = torch.where(before < self.top_p, share, 0.0)  # the first is always kept
        cumulative = share.cumsum(-1)
        place = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True)
        if ids is None:
            last = size - 1 - (share > 0).flip(-1).int().argmax(-1, keepdim=True)
            return torch.minimum(place, last)[:, 0]
        kept = (share > 0).sum(-1, keepdim=True)
        return ids.gather(1, torch.minimum(place, kept - 1))[:, 0]


def _ranked(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest logits of each row and their ids, highest first, equal ones in the order of their ids."""
    _, ids = logits.topk(count, dim=-1, sorted=False)
    ids = ids.sort(-1).values
    ranked, order = logits.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    return ranked, ids.gather(-1, order)
