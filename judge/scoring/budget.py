"""The budget of judging: what a run has used, and a hard limit in dollars, for single requests and batches alike."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from equiloss.errors import BudgetError
from equiloss.numerals import usd
from judge.endpoints.provider import Provider, Reply


@dataclass
class JudgingBudget:
    """What this run used (`cost_usd` is None without a price), beside the `paid_usd` of earlier runs of the same plan.

    What was spent and what is in flight at its worst never exceed `limit_usd`. `reasked` replies could not be read,
    `retries` requests were sent again, `lost` requests (by key) got no answer, with the reason. `uncounted` replies
    came without a count of tokens, and are taken to have cost all that they could.
    """

    provider: Provider
    limit_usd: float | None = None
    paid_usd: float = 0.0
    discount: float = 1.0
    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = field(init=False)
    uncounted: int = 0
    reasked: int = 0
    retries: int = 0
    lost: dict[str, str] = field(default_factory=dict[str, str])
    _reserved_usd: float = 0.0
    _overrun: float = 1.0  # how far a reply's cost went beyond its worst case, at most: thoughts that no limit holds
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.cost_usd = self.provider.cost_usd(0, 0)

    @property
    def spent_usd(self) -> float:
        """Dollars spent on the plan, earlier runs included."""
        return self.paid_usd + (self.cost_usd or 0.0)

    def count(self, reply: Reply, worst_usd: float) -> float | None:
        """Add a reply; returns its dollars, None without a price. `worst_usd` is the most that it should have cost."""
        self.replies += 1
        self.uncounted += not reply.has_usage
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.cached_tokens += reply.cached_tokens
        cost = self.provider.cost_usd(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)
        if cost is not None:
            cost = cost if reply.has_usage or not math.isfinite(worst_usd) else worst_usd
            self._overrun = max(self._overrun, cost / worst_usd if worst_usd else 1.0)
            cost *= self.discount
            self.cost_usd = (self.cost_usd or 0.0) + cost
        return cost

    def check(self, worst_usd: float, what: str) -> None:
        """Raises: BudgetError when `what`, at its worst, does not fit into what is left."""
        if self.limit_usd is not None and self.spent_usd + worst_usd > self.limit_usd:
            most = usd(worst_usd) if math.isfinite(worst_usd) else "any sum: no limit of tokens is sent"
            raise BudgetError(
                f"stopped at the budget: {usd(self.spent_usd)} of ${self.limit_usd:g} spent; {what} may cost {most}",
                "the same command with a larger --max-usd goes on from here",
            )

    @asynccontextmanager
    async def reserving(self, worst_usd: float) -> AsyncGenerator[None]:
        """Wait until the worst case of a request fits, and hold it while the request is out.

        Raises: BudgetError when it does not fit although nothing is in flight.
        """
        if self.limit_usd is None:
            yield
            return
        worst_usd *= self._overrun
        while self.spent_usd + self._reserved_usd + worst_usd > self.limit_usd:
            if self._reserved_usd <= 1e-12:
                self.check(worst_usd, "the next request")
                break
            self._changed.clear()
            await self._changed.wait()
        self._reserved_usd += worst_usd
        try:
            yield
        finally:
            self._reserved_usd = max(0.0, self._reserved_usd - worst_usd)
            self._changed.set()
