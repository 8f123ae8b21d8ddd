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
    """A mean over all runs and items if every missing score were the least or the greatest possible: Manski (1989)."""
    low, high = (np.where(np.isnan(values), end, values) for end in scale)
    return float(low.mean()), float(high.mean())


def difference_bounds(a: Floats, b: Floats, scale: Interval) -> Interval:
    """The gap a minus b over all items if the missing scores of both were as bad, or as good, for a as can be."""
    left, right = mean_bounds(a, scale), mean_bounds(b, scale)
    return left[0] - right[1], left[1] - right[0]
