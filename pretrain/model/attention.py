"""How a layer attends: the heads of a fused row of queries, keys and values, and what computes attention over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Heads:
    """What lies in a row of queries, keys and values: heads of each, the scale of their products, how far back to look.

    `keys`: as many heads of keys and of values, each of which serves queries / keys of the queries' (Ainslie et al.
    2023, arXiv 2305.13245). `scale` None: 1 / sqrt(D). `window`: a token sees itself and so many minus one before it.
    """

    queries: int
    keys: int
    scale: float | None = None
    window: int | None = None

    def split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (..., H, D), keys and values (..., K, D) of qkv (..., (H + 2K) D)."""
        parts = qkv.unflatten(-1, (self.queries + 2 * self.keys, -1))
        q, k, v = parts.split((self.queries, self.keys, self.keys), dim=-2)
        return q, k, v

    def product(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
        """Attention of q (B, H, L, D) to k, v (B, K, S, D): (B, H, L, D). `mask` (L, S) or wider; None: causal."""
        if self.keys != self.queries:
            k, v = (x.repeat_interleave(self.queries // self.keys, dim=1) for x in (k, v))
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=self.scale
        )

    def mask(self, length: int, before: int, device: torch.device | None) -> Tensor | None:
        """Where the last `length` of before + length tokens look (L, before + L); None: plainly causal."""
        shape = (length, before + length)
        if self.window is not None and shape[1] > self.window:
            seen = torch.ones(shape, dtype=torch.bool, device=device)
            return seen.tril(before) & seen.triu(before - self.window + 1)
        return torch.ones(shape, dtype=torch.bool, device=device).tril(before) if before else None


Attend = Callable[[Tensor, Heads, float], Tensor]
"""How a layer attends (see `packing` and `generation` for others than causally): qkv (B, T, (H + 2K) D), dropout."""


def causal_attention(qkv: Tensor, heads: Heads, dropout: float) -> Tensor:
    """Scaled dot-product attention of qkv (B, T, (H + 2K) D), to (B, T, HD); short bf16 sequences on a CPU in fp32.

    torch's fused CPU kernel goes backward in bf16 at a quarter of its fp32 speed for sequences of 64 tokens (measured);
    from a few hundred tokens on the two are alike.
    """
    length = qkv.shape[1]
    q, k, v = (x.transpose(1, 2) for x in heads.split(qkv))  # each (B, H or K, T, D)
    mask = heads.mask(length, 0, q.device)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and length <= 128 and torch.is_grad_enabled():
        with torch.autocast("cpu", enabled=False):
            y = heads.product(q.float(), k.float(), v.float(), mask, dropout).to(q.dtype)
    else:
        y = heads.product(q, k, v, mask, dropout)
    return y.transpose(1, 2).flatten(2)
