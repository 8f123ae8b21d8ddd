"""Intervals that stay valid when a growing comparison is looked at again and again, and when many are made in a loop.

Look k has the confidence 1 - alpha / (k (k + 1)): the errors of all looks, however many, add up to alpha, since
1/2 + 1/6 + 1/12 + ... = 1 (Bonferroni over an open number of looks). It needs nothing of how the data grow, so it holds
at every level (answers, bases, recipes) at which the interval of a single look does; it is wider than an interval that
knows when the looks are. A gap at the look that decides is on average too large; its interval at that look is not.

Comparison j of a loop has the part h / ((h + j - 1) (h + j)) of alpha: these add up to 1 over an open number of
comparisons, too, and the first h have at least a quarter of what an equal division among h would give each. It needs
nothing of how the comparisons depend on each other, so they may share a baseline and be chosen by earlier results.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from equiloss.statistics.crossed import Crossed
from equiloss.statistics.estimate import CONFIDENCE, Interval

LOOP_HORIZON = 100
Outcome = Literal["better", "worse", "equivalent", "cannot-tell"]
Wanted = Literal["better", "not-worse", "equivalent"]


def look_confidence(look: int, confidence: float = CONFIDENCE) -> float:
    """The confidence of look 1, 2, ... so that all looks together have `confidence`."""
    if look < 1:
        raise ValueError(f"look {look}: looks are counted from 1")
    return 1 - (1 - confidence) / (look * (look + 1))


def loop_confidence(place: int, confidence: float = CONFIDENCE, horizon: int = LOOP_HORIZON) -> float:
    """The confidence of comparison 1, 2, ... of a loop so that all comparisons together have `confidence`."""
    if place < 1:
        raise ValueError(f"comparison {place}: comparisons are counted from 1")
    return 1 - (1 - confidence) * horizon / ((horizon + place - 1) * (horizon + place))


def interval_at_look(crossed: Crossed, look: int, confidence: float = CONFIDENCE) -> Interval:
    """A gap's interval at one of several looks: with this confidence, no look's interval ever leaves the truth out."""
    return crossed.cautious_interval(look_confidence(look, confidence))


def in_all(intervals: Iterable[Interval]) -> Interval | None:
    """What lies in every interval of the looks at one quantity; None where they have nothing in common."""
    lows, highs = zip(*intervals, strict=True)
    low, high = max(lows), min(highs)
    return (low, high) if low <= high else None


def outcome(interval: Interval | None, margin: float) -> Outcome:
    """What an interval of "B minus A" decides about B: the first that `decides` of better, equivalent, worse."""
    if interval is not None:
        if decides("better", interval, margin):
            return "better"
        if decides("equivalent", interval, margin):
            return "equivalent"
        if interval[1] < 0:
            return "worse"
    return "cannot-tell"


def decides(wanted: Wanted, interval: Interval | None, margin: float) -> bool:
    """Whether B's gain is shown to be above 0 (better), above -margin (not-worse), within the margin (equivalent)."""
    if interval is None:
        return False
    low, high = interval
    return {"better": low > 0, "not-worse": low > -margin, "equivalent": -margin < low and high < margin}[wanted]
