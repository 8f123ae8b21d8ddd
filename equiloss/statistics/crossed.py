"""Means over two things at once: units (fine-tuning runs, or base models) that all answered the same items.

A score has a part of its unit, a part of its item and a part of both. A mean over n units and I items (or a difference
of such means) is uncertain by

    V = V_units + V_items - V_both

where V_units is what the spread of the units' means says (a variance of its own in every stratum: Welch 1947), V_items
what the spread over items says, and V_both the part of unit and item together, which both of them hold. This is the
variance for two-way clusters of Cameron, Gelbach & Miller (2011) with the divisors of small samples; V is never less
than the larger of the first two. Degrees of freedom by Satterthwaite (1946). benchmarks/coverage.py measures how often
the intervals hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import CONFIDENCE, Estimate, Interval, student, student_interval, student_p

Clusters = NDArray[np.intp]


@dataclass(frozen=True)
class Stratum:
    """Units that could be exchanged for each other, and what they count: a base's fine-tunings, a recipe's bases.

    `values` (n, I): a row for each unit, a column for each item, nothing missing (see `complete`). `weight`: the factor
    of this stratum's mean in the quantity that is estimated. `side`: strata of one side lend each other their spread
    where one has a single unit.
    """

    values: Floats
    weight: float
    side: int = 0

    @property
    def spread(self) -> float | None:
        """Variance between the units' means; None for a single unit."""
        return float(self.values.mean(axis=1).var(ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Crossed:
    """A mean or difference of means with its variance by source, in squared units of the values.

    `units` and `both` are None where the units are taken as they are (the statement is about these units only).
    `borrowed`: a stratum of a single unit took the spread of others. `parts`: what each stratum's spread makes of
    `units`, and its degrees of freedom.
    """

    value: float
    items: float
    df_items: float
    units: float | None = None
    both: float = 0.0
    df_units: float = 0.0
    borrowed: bool = False
    parts: tuple[tuple[float, float], ...] = ()

    @property
    def variance(self) -> float:
        """Variance of the value."""
        if self.units is None:
            return self.items
        return max(self.units + self.items - self.both, self.units, self.items)

    @property
    def standard_error(self) -> float:
        """Standard error of the value."""
        return math.sqrt(self.variance)

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of the variance, at least 1."""
        below = self.items**2 / self.df_items if self.items else 0.0
        if self.units:
            below += self.units**2 / self.df_units
        return max(1.0, self.variance**2 / below) if below > 0 else 1e9

    @property
    def p(self) -> float:
        """Two-sided p of "the true value is 0"."""
        return student_p(self.value, self.standard_error, self.df)

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Student's interval of the value."""
        return student_interval(self.value, self.standard_error, self.df, confidence)

    def cautious_interval(self, confidence: float = CONFIDENCE) -> Interval:
        """An interval that holds the value at least so often, whatever the variances and however high the confidence.

        The squares of Student's half-widths of the parts add up: Banerjee (1960), Approximate confidence interval for
        linear functions of means of k populations when the population variances are not equal. Where Satterthwaite's
        approximation fails, far out in the tails for few units of unequal variance, this is only too wide.
        """
        parts = self.parts or (((self.units, self.df_units),) if self.units else ())
        rest = max(0.0, self.variance - sum(part for part, _ in parts))
        halves = [
            student_interval(0.0, math.sqrt(part), df, confidence)[1]
            for part, df in (*parts, (rest, max(1.0, self.df_items)))
        ]
        return self.value - math.hypot(*halves), self.value + math.hypot(*halves)

    def estimate(self, unit: str, method: str, confidence: float = CONFIDENCE) -> Estimate:
        """The value with Student's interval and p."""
        return student(self.value, self.standard_error, self.df, unit=unit, confidence=confidence, method=method)


def over_items(strata: Sequence[Stratum], clusters: Clusters | None = None) -> Crossed | None:
    """The weighted sum of the strata's means, over items only; `clusters` (I,) numbers items that go together.

    None for fewer than two items (or clusters).
    """
    series = np.sum([one.weight * one.values.mean(axis=0) for one in strata], axis=0)  # (I,)
    n = _count(len(series), clusters)
    if n < 2:
        return None
    return Crossed(float(series.mean()), variance_of_mean(series[None, :], clusters)[0], n - 1.0)


def over_units_and_items(strata: Sequence[Stratum], clusters: Clusters | None = None) -> Crossed | None:
    """The weighted sum of the strata's means, uncertain over units and items (see `with_units`)."""
    fixed = over_items(strata, clusters)
    return None if fixed is None else with_units(fixed, strata, clusters)


def with_units(items: Crossed, strata: Sequence[Stratum], clusters: Clusters | None = None) -> Crossed | None:
    """A quantity known over `items`, made uncertain over units too: what it owes to each unit is in `strata`.

    A stratum of a single unit borrows the spread of the other strata of its side, else of the other side: the variance
    between units is then assumed to be the same there. None where no stratum has two units.
    """
    if all(stratum.spread is None for stratum in strata):
        return None
    factors = [0.0] * len(strata)  # how often each stratum's spread counts in the variance, its own and lent
    for index, stratum in enumerate(strata):
        factor = stratum.weight**2 / len(stratum.values)
        lenders = [index] if len(stratum.values) > 1 else _lenders(index, strata)
        df = sum(len(strata[one].values) - 1 for one in lenders)
        for one in lenders:
            factors[one] += factor * (len(strata[one].values) - 1) / df
    units = both = below = 0.0
    parts: list[tuple[float, float]] = []
    for factor, stratum in zip(factors, strata, strict=True):
        if (spread := stratum.spread) is not None:
            units += factor * spread
            both += factor * _interaction(stratum, clusters)
            below += (factor * spread) ** 2 / (len(stratum.values) - 1)
            parts.append((factor * spread, len(stratum.values) - 1))
    borrowed = any(stratum.spread is None for stratum in strata)
    df_units = units**2 / below if below else 1.0
    return replace(items, units=units, both=both, df_units=df_units, borrowed=borrowed, parts=tuple(parts))


def weighted(
    factor: Floats, influence: Floats, strata: Sequence[Stratum], df: float, clusters: Clusters | None = None
) -> Crossed:
    """The weighted sum of the strata's means of factor x values, uncertain over items by its `influence`, and units.

    `factor`, `influence` (I,): what an item counts in the value, and what it moves the value by. For coefficients.
    """
    scaled = [replace(stratum, values=stratum.values * factor) for stratum in strata]
    value = float(sum(stratum.weight * stratum.values.mean() for stratum in scaled))
    fixed = Crossed(value, float(variance_of_mean(influence[None, :], clusters)[0]), max(1.0, df))
    return with_units(fixed, scaled, clusters) or fixed


def complete(values: Floats) -> Floats:
    """Missing cells of (n, I) filled in by unit + item, from what is there; columns without any value stay NaN.

    Exact least squares of an additive model: iterated until the fill-ins move by less than a billionth of their spread.
    """
    missing = np.isnan(values)
    empty = missing.all(axis=0)
    if not missing[:, ~empty].any():
        return values
    filled = np.where(missing, np.nanmean(values), values)
    work, gaps = filled[:, ~empty], missing[:, ~empty]
    scale = float(np.nanstd(values)) or 1.0
    for _ in range(1000):
        fit = work.mean(axis=1, keepdims=True) + work.mean(axis=0, keepdims=True) - work.mean()
        moved = float(np.abs(fit[gaps] - work[gaps]).max())
        work[gaps] = fit[gaps]
        if moved < 1e-9 * scale:
            break
    filled[:, ~empty] = work
    filled[:, empty] = np.nan
    return filled


def _lenders(lone: int, strata: Sequence[Stratum]) -> list[int]:
    able = [index for index, stratum in enumerate(strata) if len(stratum.values) > 1]
    return [index for index in able if strata[index].side == strata[lone].side] or able


def _interaction(stratum: Stratum, clusters: Clusters | None) -> float:
    """Variance of a unit's mean that comes from unit and item together (the residuals of unit + item)."""
    values = stratum.values
    n = len(values)
    residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0, keepdims=True) + values.mean()
    return float(variance_of_mean(residual, clusters).sum()) / (n - 1)


def variance_of_mean(rows: Floats, clusters: Clusters | None) -> Floats:
    """For each row of (n, I): the variance of its mean over items or clusters of items, (n,)."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    if clusters is not None:
        sums = np.zeros((len(rows), int(clusters.max()) + 1))
        np.add.at(sums.T, clusters, centred.T)
        centred = sums
    n = centred.shape[1]
    return (centred**2).sum(axis=1) * n / (n - 1) / rows.shape[1] ** 2


def _count(items: int, clusters: Clusters | None) -> int:
    return items if clusters is None else len(np.unique(clusters))
