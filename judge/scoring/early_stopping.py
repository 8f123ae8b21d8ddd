"""Stops judging once the differences are settled, with an error rate that holds at every moment of looking.

For each pair of models a betting martingale tests that the mean paired difference is zero; it may be looked at after
every item, since under the hypothesis it reaches 1/alpha with a probability of at most alpha (Ville's inequality).
Items come in a random order. Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by
betting, Journal of the Royal Statistical Society B 86 (2024), section 4 (predictable plug-in bets, hedged capital).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

from equiloss.errors import InputError
from judge.rubrics import LABELS
from judge.scoring.ledger import LedgerEntry
from judge.scoring.plan import Plan, PlannedRequest


class BettingMartingale:
    """Tests that differences in [-1, 1] have mean zero. `capital` reaches 1/alpha seldom if they have."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._up = self._down = 0.0  # logarithms of the capital that bets on a positive and on a negative mean
        self._n = 0
        self._sum = 0.5
        self._squares = 0.25
        self.decided_at: int | None = None

    def add(self, difference: float) -> None:
        """Bet on the next difference, then see it."""
        x = (difference + 1) / 2  # in [0, 1]; the hypothesis is a mean of 1/2
        variance = self._squares / (self._n + 1)
        bet = math.sqrt(2 * math.log(2 / self._alpha) / (variance * (self._n + 1) * math.log(self._n + 2)))
        bet = min(bet, 1.0)  # half of what would risk ruin at m = 1/2
        self._up += math.log1p(bet * (x - 0.5))
        self._down += math.log1p(-bet * (x - 0.5))
        self._n += 1
        self._sum += x
        self._squares += (x - self._sum / (self._n + 1)) ** 2
        if self.decided_at is None and self.log_capital >= -math.log(self._alpha):
            self.decided_at = self._n

    @property
    def log_capital(self) -> float:
        """Logarithm of the hedged capital: the mean of both bets."""
        high = max(self._up, self._down)
        return high + math.log((math.exp(self._up - high) + math.exp(self._down - high)) / 2)


class EarlyStopping:
    """Follows a plan's verdicts in its order of items and says when every pair of models is settled.

    `decided`: whether it is, after so many `items`, at the error rate `alpha`.
    """

    def __init__(self, plan: Plan, alpha: float) -> None:
        """Raises: InputError when alpha is no error rate, or there is nothing to compare."""
        if not 0 < alpha < 1:
            raise InputError(f"--early-stop {alpha:g} is not an error rate", "0.05 is usual")
        if len(plan.generators) < 2:
            raise InputError("--early-stop compares models", "name at least two results files")
        self.alpha = alpha
        self.items = 0
        self.decided = False
        self._plan = plan
        pairs = list(combinations(range(len(plan.generators)), 2))
        self._tests = {pair: BettingMartingale(alpha / len(pairs)) for pair in pairs}  # Bonferroni over the pairs
        self._iterator = enumerate(plan)
        self._waiting = next(self._iterator, None)
        self._scores: list[list[float]] = [[] for _ in range(len(plan.generators))]

    def advance(self, entry_at: Callable[[int], LedgerEntry]) -> bool:
        """Take in what is complete from the front of the plan; True once every pair is settled.

        `entry_at` gives what the ledger has of a request of the plan, by its place.
        """
        while self._waiting is not None and not self.decided:
            index, request = self._waiting
            entry = entry_at(index)
            if entry.verdict is None and entry.failure is None:
                return False
            self._take(request, entry)
            self._waiting = next(self._iterator, None)
            if self._waiting is None or self._waiting[1].item.id != request.item.id:
                self._finish_item()
        return self.decided

    @property
    def items_saved(self) -> int:
        """How many items need not be judged."""
        return len(self._plan.ids) - self.items if self.decided else 0

    def report(self) -> dict[str, object]:
        """Whether it is settled, after how many items, and how many were saved."""
        names = self._plan.generators
        return {
            "alpha": self.alpha,
            "about": "these answers, not other seeds; gaps at stopping are too large on average",
            "decided": self.decided,
            "items": self.items,
            "items_saved": self.items_saved,
            "pairs": [
                {"a": names[a], "b": names[b], "decided_at_item": test.decided_at}
                for (a, b), test in self._tests.items()
            ],
        }

    def _take(self, request: PlannedRequest, entry: LedgerEntry) -> None:
        if entry.verdict is None:
            return
        front = self._plan.rubric.front
        total = sum(criterion.weight for criterion in front.criteria)
        for label, slot in zip(LABELS, request.slots, strict=False):
            scores = entry.verdict[label].scores
            value = sum(criterion.weight * scores[criterion.name] for criterion in front.criteria) / total
            share = (value - front.scale.min) / (front.scale.max - front.scale.min)
            for file in slot.files:
                self._scores[file].append(share)

    def _finish_item(self) -> None:
        self.items += 1
        means = [sum(scores) / len(scores) if scores else None for scores in self._scores]
        for (a, b), test in self._tests.items():
            left, right = means[a], means[b]
            if left is not None and right is not None:
                test.add(left - right)
        self._scores = [[] for _ in range(len(self._plan.generators))]
        self.decided = all(test.decided_at is not None for test in self._tests.values())
