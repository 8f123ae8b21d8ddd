"""Agreement between judges, repeats and people. Rows are raters, columns units, NaN is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from equiloss.statistics.bootstrap import Floats, percentile, resampled_means
from equiloss.statistics.estimate import CONFIDENCE, Interval

IccKind = Literal["1,1", "1,k", "2,1", "2,k", "3,1", "3,k"]
Weights = Literal["linear", "quadratic"]


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
class Icc:
    """An intraclass correlation with its interval from the F distribution."""

    value: float
    interval: Interval


def icc(ratings: Floats, kind: IccKind, confidence: float = CONFIDENCE) -> Icc | None:
    """Shrout & Fleiss's (1979) intraclass correlations of (raters, units); units with a missing rating are left out.

    1: each unit has its own raters (repeats of one judge); 2: raters are a sample, absolute agreement; 3: these
    raters, consistency. "1" is one rating's reliability, "k" that of the mean. None for fewer than two of either.
    Intervals: McGraw & Wong (1996), table 7.
    """
    whole = ratings[:, ~np.isnan(ratings).any(axis=0)].T  # (units, raters)
    if min(whole.shape) < 2:
        return None
    n, k = whole.shape
    grand = whole.mean()
    units, raters = whole.mean(axis=1), whole.mean(axis=0)
    ms_units = k * float(((units - grand) ** 2).sum()) / (n - 1)
    ms_raters = n * float(((raters - grand) ** 2).sum()) / (k - 1)
    ms_within = float(((whole - units[:, None]) ** 2).sum()) / (n * (k - 1))
    ms_error = float(((whole - units[:, None] - raters[None, :] + grand) ** 2).sum()) / ((n - 1) * (k - 1))
    if ms_units == 0 and ms_within == 0:
        return None
    if (ms_within if kind[0] != "3" else ms_error) <= 1e-12 * ms_units:
        return Icc(1.0, (1.0, 1.0))
    tail = (1 + confidence) / 2
    family, form = kind.split(",")
    mean = form == "k"
    if family == "1":
        f_low, f_high = _f_limits(ms_units, ms_within, n - 1, n * (k - 1), tail)
        single = _ratio(ms_units - ms_within, ms_units + (k - 1) * ms_within)
        spans = ((f_low - 1) / (f_low + k - 1), (f_high - 1) / (f_high + k - 1))
    elif family == "3":
        f_low, f_high = _f_limits(ms_units, ms_error, n - 1, (n - 1) * (k - 1), tail)
        single = _ratio(ms_units - ms_error, ms_units + (k - 1) * ms_error)
        spans = ((f_low - 1) / (f_low + k - 1), (f_high - 1) / (f_high + k - 1))
    else:
        single = _ratio(ms_units - ms_error, ms_units + (k - 1) * ms_error + k * (ms_raters - ms_error) / n)
        spans = _two_way_limits(single, ms_units, ms_raters, ms_error, n, k, tail)
    if not mean:
        return Icc(single, spans)
    return Icc(_stepped_up(single, k), (_stepped_up(spans[0], k), _stepped_up(spans[1], k)))


@dataclass(frozen=True)
class Concordance:
    """Kendall's W, 0 to 1, and the p-value of no agreement (chi-square)."""

    w: float
    p: float
    n_units: int


def kendalls_w(ratings: Floats) -> Concordance | None:
    """Kendall's W of (raters, units), corrected for ties; units with a missing rating are left out.

    Kendall & Babington Smith (1939), by Friedman's test. None for fewer than two raters or three units, or where every
    rater ties everything.
    """
    whole = ratings[:, ~np.isnan(ratings).any(axis=0)]
    raters, units = whole.shape
    if raters < 2 or units < 3:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        friedman = stats.friedmanchisquare(*whole.T)
    if np.isnan(friedman.statistic):
        return None
    return Concordance(float(friedman.statistic) / (raters * (units - 1)), float(friedman.pvalue), units)


def weighted_kappa(first: Floats, second: Floats, weights: Weights = "quadratic") -> float | None:
    """Cohen's (1968) weighted kappa of two raters' values, distances being those of the values themselves.

    NaN is left out. None for fewer than two pairs, or where chance leaves no room to disagree.
    """
    there = ~(np.isnan(first) | np.isnan(second))
    a, b = first[there], second[there]
    if len(a) < 2:
        return None
    power = 1.0 if weights == "linear" else 2.0
    observed = float(np.power(np.abs(a - b), power).mean())
    expected = float(np.power(np.abs(a[:, None] - b[None, :]), power).mean())
    return 1 - observed / expected if expected > 0 else None


def spearman(first: Floats, second: Floats) -> float | None:
    """Spearman's rank correlation; NaN is left out. None for fewer than three pairs or where one does not vary."""
    there = ~(np.isnan(first) | np.isnan(second))
    a, b = first[there], second[there]
    if len(a) < 3 or float(np.ptp(a)) == 0 or float(np.ptp(b)) == 0:
        return None
    return float(stats.spearmanr(a, b).statistic)


def pair_interval(
    first: Floats,
    second: Floats,
    statistic: Callable[[Floats, Floats], float | None],
    confidence: float = CONFIDENCE,
    draws: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap interval over pairs of a statistic such as `spearman` or `weighted_kappa`."""
    if statistic(first, second) is None:
        return None
    rng = np.random.default_rng([seed, 3])
    picks = (rng.integers(0, len(first), len(first)) for _ in range(draws))
    return _percentile_of_known([statistic(first[pick], second[pick]) for pick in picks], confidence)


def _percentile_of_known(replicates: Sequence[float | None], confidence: float) -> Interval | None:
    known = np.array([value for value in replicates if value is not None])
    return percentile(known, confidence) if len(known) >= 0.9 * len(replicates) else None


def _unit_sums(ratings: Floats) -> Floats:
    """Per unit with at least two ratings: how many, their sum, their sum of squares, and its part of disagreement."""
    there = ~np.isnan(ratings)
    count = there.sum(axis=0).astype(np.float64)
    shifted = np.where(there, ratings - (np.nanmean(ratings) if there.any() else 0.0), 0.0)
    total, squares = shifted.sum(axis=0), (shifted**2).sum(axis=0)
    kept = count >= 2
    within = 2 * (count * squares - total**2)[kept] / (count[kept] - 1)
    return np.column_stack([count[kept], total[kept], squares[kept], within])


def _alpha(sums: Floats) -> float | None:
    """Alpha on an interval scale from the units' sums, added up."""
    n, total, squares, within = (float(one) for one in sums)
    expected = 2 * (n * squares - total**2) / (n - 1) if n > 1 else 0.0
    return 1 - within / expected if expected > 1e-9 * max(1.0, squares) else None


def _f_limits(above: float, below: float, df1: int, df2: int, tail: float) -> Interval:
    if below == 0:
        return np.inf, np.inf
    f = above / below
    return f / float(stats.f.ppf(tail, df1, df2)), f * float(stats.f.ppf(tail, df2, df1))


def _two_way_limits(
    single: float, ms_units: float, ms_raters: float, ms_error: float, n: int, k: int, tail: float
) -> Interval:
    if ms_error == 0 and ms_raters == 0:
        return single, single
    a = k * single / (n * (1 - single)) if single < 1 else np.inf
    b = 1 + k * single * (n - 1) / (n * (1 - single)) if single < 1 else np.inf
    if not np.isfinite(a):
        return single, single
    df = (a * ms_raters + b * ms_error) ** 2 / (
        (a * ms_raters) ** 2 / (k - 1) + (b * ms_error) ** 2 / ((n - 1) * (k - 1))
    )
    f_low, f_high = float(stats.f.ppf(tail, n - 1, df)), float(stats.f.ppf(tail, df, n - 1))
    rest = k * ms_raters + (k * n - k - n) * ms_error
    low = n * (ms_units - f_low * ms_error) / (f_low * rest + n * ms_units)
    high = n * (f_high * ms_units - ms_error) / (rest + n * f_high * ms_units)
    return low, high


def _ratio(above: float, below: float) -> float:
    return above / below if below != 0 else 0.0


def _stepped_up(single: float, k: int) -> float:
    """The reliability of a mean of k from that of one: Spearman (1910), Brown (1910)."""
    return k * single / (1 + (k - 1) * single)
