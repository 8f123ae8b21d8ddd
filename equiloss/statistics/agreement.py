"""Agreement between judges, repeats and people. Rows are raters, columns units, NaN is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import fdtri

from equiloss.statistics.bootstrap import GROUPS, Floats, percentile, resampled_means
from equiloss.statistics.estimate import CONFIDENCE, Interval


def krippendorff_alpha(ratings: Floats) -> float | None:
    """Krippendorff's alpha of (raters, units) on an interval scale: 1 full agreement, 0 chance.

    Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section E, where squared differences need no
    matrix of coincidences. None where nothing can be compared, or all values are equal.
    """
    return _alpha(_unit_sums(ratings).sum(axis=0))


def alpha_interval(
    ratings: Floats, confidence: float = CONFIDENCE, draws: int = 1000, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap interval of alpha over units; None where alpha is."""
    sums = _unit_sums(ratings)
    if _alpha(sums.sum(axis=0)) is None:
        return None
    replicates = [_alpha(row) for row in resampled_means(sums.T, draws, seed) * len(sums)]
    return _percentile_of_known(replicates, confidence)


@dataclass(frozen=True)
class Reliability:
    """How far raters agree on units: of one rating, with its interval, and of the mean of all of a unit's ratings."""

    value: float
    interval: Interval
    of_mean: float


def icc_one_way(ratings: Floats, confidence: float = CONFIDENCE) -> Reliability | None:
    """ICC(1,1) and ICC(1,k) of (raters, units) where each unit has its own raters, such as repeats of one judge.

    Shrout & Fleiss (1979); interval from the F distribution, McGraw & Wong (1996), table 7. Units with a missing rating
    are left out. None for fewer than two of either, or where nothing varies.
    """
    squares = _mean_squares(ratings)
    if squares is None:
        return None
    n, k = squares.n_units, squares.n_raters
    if squares.within <= 1e-12 * squares.units:
        return Reliability(1.0, (1.0, 1.0), 1.0)
    f, tail = squares.units / squares.within, (1 + confidence) / 2
    low = f / float(fdtri(n - 1, n * (k - 1), tail))
    high = f * float(fdtri(n * (k - 1), n - 1, tail))
    single, *ends = ((one - 1) / (one + k - 1) for one in (f, low, high))
    return Reliability(single, (ends[0], ends[1]), k * single / (1 + (k - 1) * single))  # Spearman (1910), Brown (1910)


def icc_two_way(ratings: Floats) -> float | None:
    """ICC(2,1) of (raters, units), absolute agreement of raters who are a sample; None as for `icc_one_way`."""
    squares = _mean_squares(ratings)
    if squares is None:
        return None
    n, k = squares.n_units, squares.n_raters
    below = squares.units + (k - 1) * squares.error + k * (squares.raters - squares.error) / n
    return (squares.units - squares.error) / below if below else 0.0


class _MeanSquares(NamedTuple):
    n_units: int
    n_raters: int
    units: float
    raters: float
    within: float
    error: float


def _mean_squares(ratings: Floats) -> _MeanSquares | None:
    whole = ratings[:, ~np.isnan(ratings).any(axis=0)].T  # (units, raters)
    n, k = whole.shape
    if min(n, k) < 2 or np.ptp(whole) == 0:
        return None
    units, raters, grand = whole.mean(axis=1, keepdims=True), whole.mean(axis=0), whole.mean()
    return _MeanSquares(
        n_units=n,
        n_raters=k,
        units=k * float(np.square(units - grand).sum()) / (n - 1),
        raters=n * float(np.square(raters - grand).sum()) / (k - 1),
        within=float(np.square(whole - units).sum()) / (n * (k - 1)),
        error=float(np.square(whole - units - raters + grand).sum()) / ((n - 1) * (k - 1)),
    )


def kendalls_w(ratings: Floats) -> tuple[float, float] | None:
    """Kendall's W of (raters, units), 0 to 1, corrected for ties, and the p-value of no agreement (chi-square).

    Kendall & Babington Smith (1939), by Friedman's test. Units with a missing rating are left out. None for fewer than
    two raters or three units, or where every rater ties everything.
    """
    from scipy import stats

    whole = ratings[:, ~np.isnan(ratings).any(axis=0)]
    raters, units = whole.shape
    if raters < 2 or units < 3:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        friedman = stats.friedmanchisquare(*whole.T)
    if np.isnan(friedman.statistic):
        return None
    return float(friedman.statistic) / (raters * (units - 1)), float(friedman.pvalue)


def weighted_kappa(first: Floats, second: Floats) -> float | None:
    """Cohen's (1968) kappa of two raters' values, weighted by the squares of the values' differences.

    NaN is left out. None for fewer than two pairs, or where chance leaves no room to disagree.
    """
    present = ~(np.isnan(first) | np.isnan(second))
    a, b = first[present], second[present]
    if len(a) < 2:
        return None
    expected = float(a.var() + b.var() + (a.mean() - b.mean()) ** 2)  # the mean over all pairs of a value of each
    return 1 - float(np.square(a - b).mean()) / expected if expected > 0 else None


def spearman(first: Floats, second: Floats) -> float | None:
    """Spearman's rank correlation; NaN is left out. None for fewer than three pairs or where one does not vary."""
    present = ~(np.isnan(first) | np.isnan(second))
    a, b = first[present], second[present]
    if len(a) < 3 or float(np.ptp(a)) == 0 or float(np.ptp(b)) == 0:
        return None
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks of values (N,), equal ones their mean; as scipy's `rankdata`, without the weight of its package."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def pair_interval(
    first: Floats,
    second: Floats,
    statistic: Callable[[Floats, Floats], float | None],
    confidence: float = CONFIDENCE,
    draws: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap interval over pairs of a statistic such as `spearman` or `weighted_kappa`.

    Of more than `bootstrap.GROUPS` pairs m are drawn, not all n, and the deviations multiplied by sqrt(m / n).
    """
    whole = statistic(first, second)
    if whole is None:
        return None
    rng = np.random.default_rng([seed, 3])
    size = min(len(first), GROUPS)
    picks = (rng.integers(0, len(first), size) for _ in range(draws))
    replicates = [statistic(first[pick], second[pick]) for pick in picks]
    if size < len(first):
        scale = math.sqrt(size / len(first))
        replicates = [None if value is None else whole + scale * (value - whole) for value in replicates]
    return _percentile_of_known(replicates, confidence)


def _percentile_of_known(replicates: Sequence[float | None], confidence: float) -> Interval | None:
    known = np.array([value for value in replicates if value is not None])
    return percentile(known, confidence) if len(known) >= 0.9 * len(replicates) else None


def _unit_sums(ratings: Floats) -> Floats:
    """Per unit with at least two ratings: how many, their sum, their sum of squares, and its part of disagreement."""
    present = ~np.isnan(ratings)
    count = present.sum(axis=0).astype(np.float64)
    shifted = np.where(present, ratings - (np.nanmean(ratings) if present.any() else 0.0), 0.0)
    total, squares = shifted.sum(axis=0), (shifted**2).sum(axis=0)
    kept = count >= 2
    within = 2 * (count * squares - total**2)[kept] / (count[kept] - 1)
    return np.column_stack([count[kept], total[kept], squares[kept], within])


def _alpha(sums: Floats) -> float | None:
    """Alpha on an interval scale from the units' sums, added up."""
    n, total, squares, within = (float(one) for one in sums)
    expected = 2 * (n * squares - total**2) / (n - 1) if n > 1 else 0.0
    return 1 - within / expected if expected > 1e-9 * max(1.0, squares) else None
