"""Stops judging once the differences are settled, with an error rate that holds at every moment of looking.

For each pair of models a betting martingale tests that the mean paired difference is zero; it may be looked at after
every item, since under the hypothesis it reaches 1/alpha with a probability of at most alpha (Ville's inequality).
Items come in a random order. Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by
betting, Journal of the Royal Statistical Society B 86 (2024), section 4 (predictable plug-in bets, hedged capital).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from equiloss.errors import InputError
from judge.rubrics import LABELS
from judge.scoring.ledger import Outcome
from judge.scoring.plan import Ask, Plan


class Bet:
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


class Watch:
    """Follows a plan's verdicts in its order of items and says when every pair of models is settled."""

    def __init__(self, plan: Plan, alpha: float) -> None:
        """Raises: InputError when alpha is no error rate, or there is nothing to compare."""
        if not 0 < alpha < 1:
            raise InputError(f"--early-stop {alpha:g} is not an error rate", "0.05 is usual")
        if plan.n_files < 2:
            raise InputError("--early-stop compares models", "name at least two results files")
        self._plan, self._alpha = plan, alpha
        pairs = list(combinations(range(plan.n_files), 2))
        self._bets = {pair: Bet(alpha / len(pairs)) for pair in pairs}  # Bonferroni over the pairs
        self._iterator = enumerate(plan)
        self._waiting: tuple[int, Ask] | None = next(self._iterator, None)
        self._scores: list[list[float]] = [[] for _ in range(plan.n_files)]
        self._items = 0
        self._decided = False

    def advance(self, outcome: Callable[[int], Outcome | None]) -> bool:
        """Take in what is complete from the front of the plan; True once every pair is settled."""
        while self._waiting is not None and not self._decided:
            index, ask = self._waiting
            found = outcome(index)
            if found is None:
                return False
            self._take(ask, found)
            self._waiting = next(self._iterator, None)
            if self._waiting is None or self._waiting[1].item.id != ask.item.id:
                self._finish_item()
        return self._decided

    def report(self) -> dict[str, Any]:
        """Whether it is settled, after how many items, and how many were saved."""
        names = [file.generator for file in self._plan.answers.files]
        return {
            "alpha": self._alpha,
            "decided": self._decided,
            "items": self._items,
            "items_saved": len(self._plan.ids) - self._items if self._decided else 0,
            "pairs": [
                {"a": names[a], "b": names[b], "decided_at_item": bet.decided_at} for (a, b), bet in self._bets.items()
            ],
        }

    def _take(self, ask: Ask, outcome: Outcome) -> None:
        if outcome.verdict is None:
            return
        front = self._plan.rubric.front
        total = sum(one.weight for one in front.criteria)
        for place, slot in enumerate(ask.slots):
            scores: dict[str, float] = outcome.verdict[LABELS[place]]["scores"]
            value = sum(one.weight * scores[one.name] for one in front.criteria) / total
            share = (value - front.scale.min) / (front.scale.max - front.scale.min)
            for who in slot.files:
                self._scores[who].append(share)

    def _finish_item(self) -> None:
        self._items += 1
        means = [sum(one) / len(one) if one else None for one in self._scores]
        for (a, b), bet in self._bets.items():
            left, right = means[a], means[b]
            if left is not None and right is not None:
                bet.add(left - right)
        self._scores = [[] for _ in range(self._plan.n_files)]
        self._decided = all(bet.decided_at is not None for bet in self._bets.values())


def shuffled(ids: Sequence[str], seed: int) -> list[str]:
    """The items in the random order that the test needs."""
    order = list(ids)
    random.Random(f"early-stop:{seed}").shuffle(order)
    return order
