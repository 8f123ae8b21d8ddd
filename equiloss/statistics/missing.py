"""Scores with gaps: means of what is there, and what the missing could do to a result at worst and at best."""

from __future__ import annotations

import numpy as np

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Interval


def present_mean(values: Floats, axis: int = 0) -> Floats:
    """Mean over an axis, leaving NaN out; NaN where there is nothing else (without a warning)."""
    present = ~np.isnan(values)
    count = present.sum(axis=axis)
    total = np.where(present, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float64)


def mean_bounds(values: Floats, scale: Interval) -> Interval:
    """A mean over all items (I,) if every missing score were the least or the greatest possible: Manski (1989)."""
    low, high = (np.where(np.isnan(values), end, values) for end in scale)
    return float(low.mean()), float(high.mean())


def difference_bounds(a: Floats, b: Floats, scale: Interval) -> Interval:
    """The gap a minus b over all items if the missing scores of both were as bad, or as good, for a as can be."""
    worst = np.where(np.isnan(a), scale[0], a) - np.where(np.isnan(b), scale[1], b)
    best = np.where(np.isnan(a), scale[1], a) - np.where(np.isnan(b), scale[0], b)
    return float(worst.mean()), float(best.mean())
