"""What missing verdicts could do to a result: the worst and the best case, never silence."""

from __future__ import annotations

import numpy as np

from equiloss.statistics.bootstrap import Floats, Interval


def mean_bounds(values: Floats, scale: Interval) -> Interval:
    """A mean over all items (I,) if every missing score were the least or the greatest possible: Manski (1989)."""
    low, high = (np.where(np.isnan(values), end, values) for end in scale)
    return float(low.mean()), float(high.mean())


def difference_bounds(a: Floats, b: Floats, scale: Interval) -> Interval:
    """The gap a minus b over all items if the missing scores of both were as bad, or as good, for a as can be."""
    worst = np.where(np.isnan(a), scale[0], a) - np.where(np.isnan(b), scale[1], b)
    best = np.where(np.isnan(a), scale[1], a) - np.where(np.isnan(b), scale[0], b)
    return float(worst.mean()), float(best.mean())
