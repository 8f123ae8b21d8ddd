"""Which tokens of a text induction predicts: those that followed the same token the last time it stood there.

Induction heads (Olsson et al. 2022, arXiv 2209.11895) continue `… A B … A` with B. The rule here is theirs at its
simplest: one token of context, its most recent earlier occurrence in the same window.
"""

from __future__ import annotations

import torch
from torch import Tensor


def predicted(ids: Tensor) -> Tensor:
    """For windows (B, T+1) of ids: whether token t+1 is the one that followed token t before (B, T)."""
    before, after = ids[:, :-1], ids[:, 1:]
    length = before.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril(-1)
    same = (before[:, :, None] == before[:, None, :]) & earlier  # (B, T, T): token t stood at s < t
    place = torch.arange(length, device=ids.device)
    last = torch.where(same, place, -1).amax(dim=2)  # (B, T): where it stood last, -1 nowhere
    return (last >= 0) & (after.gather(1, last.clamp(min=0)) == after)
