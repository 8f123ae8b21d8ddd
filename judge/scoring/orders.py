"""Who stands where in a joint prompt: balanced orders, and balanced groups when not all answers fit in one prompt.

A position effect that every answer meets equally often cancels from a comparison and can be estimated; one that is
merely shuffled does neither on a hundred items.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations


def williams(k: int) -> list[list[int]]:
    """A Williams design for k treatments: k rows if k is even, 2k if it is odd.

    Every column holds each treatment equally often, and each treatment directly follows each other one equally often,
    so that carry-over cancels too.
    Source: E. J. Williams, Experimental designs balanced for the estimation of residual effects of treatments,
    Australian Journal of Scientific Research A 2 (1949), 149-168.
    """
    if k < 1:
        raise ValueError("a design needs at least one treatment")
    first = [(place + 1) // 2 if place % 2 else -(place // 2) % k for place in range(k)]  # 0, 1, k-1, 2, k-2, ...
    square = [[(treatment + shift) % k for treatment in first] for shift in range(k)]
    return square if k % 2 == 0 or k == 1 else square + [row[::-1] for row in square]


class Orders:
    """A stream of orders of k places; every `len(williams(k))` of them are balanced, and so is what repeats see.

    The rows of the design are taken in blocks; in each block the treatments are renamed and the rows shuffled by the
    seed, which keeps the balance. Equal seeds and names give equal streams.
    """

    def __init__(self, k: int, seed: int, name: str = "") -> None:
        self._design = williams(k)
        self._random = random.Random(f"orders:{seed}:{name}:{k}")
        self._waiting: list[list[int]] = []

    def next(self) -> list[int]:
        """The order for the next prompt: `order[position]` is the index of the answer that stands there."""
        if not self._waiting:
            k = len(self._design[0])
            names = self._random.sample(range(k), k)
            rows = self._random.sample(self._design, len(self._design))
            self._waiting = [[names[treatment] for treatment in row] for row in rows]
        return self._waiting.pop()

    def all(self) -> list[list[int]]:
        """The rows of the design in a random order, to choose from where the answers differ from prompt to prompt."""
        return self._random.sample(self._design, len(self._design))


class Groups:
    """Divides answers into groups of at most k that share the anchor, so that they meet about equally often.

    For every item the others are divided among the fewest groups of at most k - 1, as evenly as possible, and the
    anchor (the first member) joins each: a resolvable incomplete block design with a common control. Of `candidates`
    random divisions the one is taken that keeps the counts of pairs that met most even.
    """

    def __init__(self, k: int, seed: int, candidates: int = 24) -> None:
        if k < 2:
            raise ValueError("a joint prompt holds at least two answers")
        self._k = k
        self._random = random.Random(f"groups:{seed}:{k}")
        self._candidates = candidates
        self._met: Counter[tuple[int, int]] = Counter()

    def next(self, members: Sequence[int]) -> list[list[int]]:
        """The groups for the next item, each sorted and with the anchor; a single group when all answers fit."""
        if len(members) <= self._k:
            return [sorted(members)]
        anchor, *others = members
        best = min((self._division(others) for _ in range(self._candidates)), key=self._cost)
        for group in best:
            self._met.update(combinations(group, 2))
        return [sorted([anchor, *group]) for group in best]

    def _division(self, others: Sequence[int]) -> list[list[int]]:
        shuffled = self._random.sample(others, len(others))
        count = -(-len(shuffled) // (self._k - 1))
        return [sorted(shuffled[start::count]) for start in range(count)]

    def _cost(self, division: Sequence[Sequence[int]]) -> int:
        # The rise of the sum of squared counts: (c + 1)^2 - c^2 = 2c + 1 for each pair that would meet.
        return sum(2 * self._met[pair] + 1 for group in division for pair in combinations(group, 2))


def pairs(n: int, anchor: int | None = None) -> list[tuple[int, int]]:
    """Both orders of every pair of n answers, or of each answer with the anchor."""
    chosen = [(a, b) for a, b in combinations(range(n), 2) if anchor is None or anchor in (a, b)]
    return [order for a, b in chosen for order in ((a, b), (b, a))]
