"""Intervals that stay valid when a growing comparison is looked at again and again.

Look k has the confidence 1 - alpha / (k (k + 1)): the errors of all looks, however many, add up to alpha, since
1/2 + 1/6 + 1/12 + ... = 1 (Bonferroni over an open number of looks). It needs nothing of how the data grow, so it holds
at every level (answers, bases, recipes) at which the interval of a single look does; it is wider than an interval that
knows when the looks are. A gap at the look that decides is on average too large; its interval at that look is not.
"""

from __future__ import annotations

from equiloss.statistics.crossed import Crossed
from equiloss.statistics.estimate import CONFIDENCE, Interval


def look_confidence(look: int, confidence: float = CONFIDENCE) -> float:
    """The confidence of look 1, 2, ... so that all looks together have `confidence`."""
    if look < 1:
        raise ValueError(f"look {look}: looks are counted from 1")
    return 1 - (1 - confidence) / (look * (look + 1))


def interval_at_look(crossed: Crossed, look: int, confidence: float = CONFIDENCE) -> Interval:
    """A gap's interval at one of several looks: with this confidence, no look's interval ever leaves the truth out."""
    return crossed.interval(look_confidence(look, confidence))
