"""What judging has spent, one request at a time or in batches, and the most that a request can cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from judge.endpoints.prices import Price
from judge.endpoints.provider import Reply


@dataclass
class Spent:
    """What this run did: replies that it got, tokens, dollars (None without a price), retries, requests lost."""

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = 0.0
    reasked: int = 0
    retries: int = 0
    lost: dict[str, str] = field(default_factory=dict[str, str])

    def count(self, reply: Reply, price: Price | None, discount: float = 1.0) -> float | None:
        """Add a reply; returns its dollars, None without a price."""
        self.replies += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.cached_tokens += reply.cached_tokens
        if price is None:
            return None
        cost = discount * price.cost_usd(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)
        self.cost_usd = (self.cost_usd or 0.0) + cost
        return cost


def worst_usd(messages: Iterable[Mapping[str, Any]], limit_tokens: int, price: Price | None) -> float:
    """The most that a request can cost whose reply has at most `limit_tokens`; 0 without a price."""
    if price is None:
        return 0.0
    # A byte-level tokenizer never needs more tokens than bytes; half of that is beyond any text that is judged.
    return price.cost_usd(sum(len(str(one["content"]).encode()) // 2 + 8 for one in messages), limit_tokens)
