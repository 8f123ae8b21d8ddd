"""Agreement between judges, repeats and people. Rows are raters, columns units, NaN is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from equiloss.statistics.bootstrap import Floats, percentile, resampled_means
from equiloss.statistics.estimate import Interval

Level = Literal["nominal", "ordinal", "interval", "ratio"]
IccKind = Literal["1,1", "1,k", "2,1", "2,k", "3,1", "3,k"]
Weights = Literal["linear", "quadratic"]
Indices: TypeAlias = NDArray[np.intp]


def krippendorff_alpha(ratings: Floats, level: Level = "interval") -> float | None:
    """Krippendorff's alpha of (raters, units): 1 full agreement, 0 chance. None where nothing can be compared.

    From the coincidence matrix: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section E.
    All pairable values equal: None, since there is no variation to agree about.
    """
    there = ~np.isnan(ratings)
    pairable = there.sum(axis=0) >= 2
    kept, present = ratings[:, pairable], there[:, pairable]
    if not kept.size:
        return None
    if level == "interval":
        return _interval_alpha(_interval_sums(ratings).sum(axis=0))
    values, index = np.unique(kept[present], return_inverse=True)
    if len(values) < 2:
        return None
    counts = np.zeros((kept.shape[1], len(values)))  # (units, values)
    np.add.at(counts, (np.nonzero(present.T)[0], _reordered(index, present)), 1.0)
    shares = counts / (counts.sum(axis=1) - 1)[:, None]
    coincidence = shares.T @ counts - np.diag(shares.sum(axis=0))
    totals = coincidence.sum(axis=1)
    n = totals.sum()
    distance = _distances(values, totals, level)
    observed = float((coincidence * distance).sum())
    expected = float((np.outer(totals, totals) * distance).sum()) / (n - 1)
    return 1 - observed / expected if expected > 0 else None


def alpha_interval(
    ratings: Floats, level: Level = "interval", confidence: float = 0.95, draws: int = 1000, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap interval of alpha over units; None where alpha is."""
    if level == "interval":
        sums = _interval_sums(ratings)
        if krippendorff_alpha(ratings) is None:
            return None
        replicates = resampled_means(sums.T, draws, seed) * len(sums)
        found = np.array([np.nan if (one := _interval_alpha(row)) is None else one for row in replicates])
        return percentile(found, confidence) if np.isnan(found).mean() < 0.1 else None
    return _over_units(ratings, lambda one: krippendorff_alpha(one, level), confidence, draws, seed)


@dataclass(frozen=True)
class Icc:
    """An intraclass correlation with its interval from the F distribution."""

    value: float
    interval: Interval


def icc(ratings: Floats, kind: IccKind, confidence: float = 0.95) -> Icc | None:
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

    Kendall & Babington Smith (1939). None for fewer than two of either, or where every rater ties everything.
    """
    whole = ratings[:, ~np.isnan(ratings).any(axis=0)]
    raters, units = whole.shape
    if raters < 2 or units < 2:
        return None
    ranks = np.array([stats.rankdata(row) for row in whole], dtype=np.float64)
    sums: Floats = np.asarray(ranks.sum(axis=0), dtype=np.float64)
    ties = 0.0
    for row in whole:
        sizes = np.unique(row, return_counts=True)[1].astype(np.float64)
        ties += float((sizes**3 - sizes).sum())
    below = float(raters**2 * (units**3 - units)) - raters * ties
    if below <= 0:
        return None
    w = 12 * float(np.square(sums - sums.mean()).sum()) / below
    chi2: float = raters * (units - 1) * w
    return Concordance(w, float(stats.chi2.sf(chi2, units - 1)), units)


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
    a, b = stats.rankdata(first[there]), stats.rankdata(second[there])
    if len(a) < 3 or float(np.ptp(a)) == 0 or float(np.ptp(b)) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def pair_interval(
    first: Floats,
    second: Floats,
    statistic: Callable[[Floats, Floats], float | None],
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap interval over pairs of a statistic such as `spearman` or `weighted_kappa`."""
    return _over_units(np.stack([first, second]), lambda one: statistic(one[0], one[1]), confidence, draws, seed)


def _over_units(
    ratings: Floats, statistic: Callable[[Floats], float | None], confidence: float, draws: int, seed: int
) -> Interval | None:
    if statistic(ratings) is None:
        return None
    rng = np.random.default_rng([seed, 3])
    units = ratings.shape[1]
    found = [statistic(ratings[:, rng.integers(0, units, units)]) for _ in range(draws)]
    kept = np.array([value for value in found if value is not None])
    return percentile(kept, confidence) if len(kept) >= 0.9 * draws else None


def _reordered(index: Indices, present: NDArray[np.bool_]) -> Indices:
    """The values' places, from rater by rater to unit by unit."""
    table = np.zeros(present.shape, dtype=np.intp)
    table[present] = index
    return table.T[present.T]


def _interval_sums(ratings: Floats) -> Floats:
    """Per unit with at least two ratings: how many, their sum, their sum of squares, and its part of disagreement."""
    there = ~np.isnan(ratings)
    count = there.sum(axis=0).astype(np.float64)
    shifted = np.where(there, ratings - np.nanmean(ratings), 0.0)
    total, squares = shifted.sum(axis=0), (shifted**2).sum(axis=0)
    kept = count >= 2
    within = 2 * (count * squares - total**2)[kept] / (count[kept] - 1)
    return np.column_stack([count[kept], total[kept], squares[kept], within])


def _interval_alpha(sums: Floats) -> float | None:
    """Alpha on an interval scale from the units' sums, added up."""
    n, total, squares, within = (float(one) for one in sums)
    expected = 2 * (n * squares - total**2) / (n - 1) if n > 1 else 0.0
    return 1 - within / expected if expected > 1e-9 * max(1.0, squares) else None


def _distances(values: Floats, totals: Floats, level: Level) -> Floats:
    """Squared differences between values, by level of measurement: Krippendorff (2011), section D."""
    left, right = values[:, None], values[None, :]
    if level == "nominal":
        return (left != right).astype(np.float64)
    if level == "interval":
        return (left - right) ** 2
    if level == "ratio":
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nan_to_num(((left - right) / (left + right)) ** 2)
    below = np.concatenate([[0.0], np.cumsum(totals)])
    middle = (below[:-1] + below[1:]) / 2
    return (middle[:, None] - middle[None, :]) ** 2


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
