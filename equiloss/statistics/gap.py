"""The gap between two models over items and fine-tuning seeds, its uncertainty, and the share a change closes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from equiloss.statistics import variance
from equiloss.statistics.estimate import Estimate

Array = NDArray[np.float64]
DRAWS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Draw:
    """One bootstrap draw: rows (seeds) of A, rows of B, items."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    items: NDArray[np.int64]

    def of_a(self, values: Array) -> Array:
        """A's values (S_a, I) as drawn."""
        return values[self.a][:, self.items]

    def of_b(self, values: Array) -> Array:
        """B's values (S_b, I) as drawn."""
        return values[self.b][:, self.items]


Statistic = Callable[[Array, Array, Draw], float]
"""A statistic of drawn scores of A, drawn scores of B, and the draw itself (for values that go with the answers)."""


@dataclass(frozen=True)
class Gap:
    """Scores of A (S_a, I) and B (S_b, I), a row per fine-tuning seed, means over repeats; NaN where not scored.

    The gap is the mean of A's scored answers minus the mean of B's: where none is missing, the paired difference.
    """

    a: Array
    b: Array
    ids: tuple[str, ...]
    categories: tuple[str | None, ...]
    unit: str = "points"

    @cached_property
    def paired(self) -> Array:
        """Per item the mean of A over seeds minus that of B (I,); NaN where either has no score."""
        return row_mean(self.a) - row_mean(self.b)

    @property
    def complete(self) -> bool:
        """Whether every answer has a score."""
        return not (np.isnan(self.a).any() or np.isnan(self.b).any())

    @property
    def value(self) -> float:
        """The gap, mean of A minus mean of B."""
        return float(np.nanmean(self.a) - np.nanmean(self.b))

    @property
    def seeds_measured(self) -> bool:
        """Whether at least one side has several seeds, so that seed noise can be estimated."""
        return max(len(self.a), len(self.b)) > 1

    @cached_property
    def estimate(self) -> Estimate:
        """The gap with an interval over items and, where measured, over fine-tuning seeds (`judge.variance`).

        Without bounds where there are fewer than two items.
        """
        if self.split is None:
            return Estimate(value=self.value, unit=self.unit, note="fewer than two items")
        se, df = self.standard_error
        if se == 0.0:
            p = 1.0 if self.value == 0 else 0.0
            return Estimate(value=self.value, low=self.value, high=self.value, unit=self.unit, p=p, method=self._method)
        half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, df)) * se
        p = float(2 * stats.t.sf(abs(self.value) / se, df))
        return Estimate(
            value=self.value, low=self.value - half, high=self.value + half, unit=self.unit, p=p, method=self._method
        )

    @property
    def _method(self) -> str:
        over = "items and fine-tuning seeds" if self.seeds_measured else "items only (one seed a side)"
        return f"t interval over {over}"

    @cached_property
    def split(self) -> variance.Gap | None:
        """The gap's variance by source (see `judge.variance`); None for fewer than two items."""
        return variance.gap(self.a[:, :, None], self.b[:, :, None])

    @property
    def standard_error(self) -> tuple[float, float]:
        """Standard error of the gap and its degrees of freedom."""
        return (self.split.standard_error, self.split.df) if self.split else (float("inf"), 1.0)

    @property
    def n_items(self) -> int:
        """Items with a score on both sides (at least 1)."""
        return max(1, int((~np.isnan(self.paired)).sum()))

    @property
    def all(self) -> Draw:
        """The draw that takes everything once."""
        return Draw(np.arange(len(self.a)), np.arange(len(self.b)), np.arange(len(self.ids)))

    @cached_property
    def draws(self) -> list[Draw]:
        """Resampled (seeds of A, seeds of B, items), the same for every statistic so that shares are paired."""
        rng = np.random.default_rng(20240615)
        n = len(self.ids)
        return [Draw(*(rng.integers(0, count, count) for count in (len(self.a), len(self.b), n))) for _ in range(DRAWS)]

    def resampled(self, statistic: Statistic) -> Array:
        """The statistic on every bootstrap draw (DRAWS,)."""
        return np.array([statistic(draw.of_a(self.a), draw.of_b(self.b), draw) for draw in self.draws])

    def share(self, adjusted: Statistic, method: str) -> Estimate | None:
        """The share of the gap that an adjustment closes: 1 - adjusted/gap, percentile bootstrap over items and seeds.

        `adjusted` gives the gap that would remain. None where the gap is 0 or the adjustment cannot be computed.
        """
        gap, left = self.value, adjusted(self.a, self.b, self.all)
        if gap == 0 or math.isnan(left):
            return None
        gaps = self.resampled(lambda a, b, _: mean_difference(a, b))
        lefts = self.resampled(adjusted)
        usable = ~np.isnan(lefts) & ~np.isnan(gaps) & (np.sign(gaps) == np.sign(gap))
        if usable.sum() < DRAWS / 2:
            return Estimate(value=1 - left / gap, unit="share", method=method, note="too few usable resamples")
        return interval(1 - left / gap, 1 - lefts[usable] / gaps[usable], "share", method)


def interval(value: float, draws: Array, unit: str, method: str) -> Estimate:
    """A percentile interval from bootstrap draws."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value=value, low=float(low), high=float(high), unit=unit, method=method)


def row_mean(values: Array) -> Array:
    """Mean over the first axis, ignoring NaN; NaN where nothing is there (without a warning)."""
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    return cast("Array", np.where(count > 0, total / np.maximum(count, 1), np.nan))


def mean_difference(a: Array, b: Array) -> float:
    """Mean of A's scored answers minus mean of B's; NaN when a side has none."""
    if np.isnan(a).all() or np.isnan(b).all():
        return float("nan")
    return float(np.nanmean(a) - np.nanmean(b))


def on_items(kept: NDArray[np.bool_]) -> Statistic:
    """The gap on some items alone, as an adjustment for `Gap.share`."""

    def adjusted(a: Array, b: Array, draw: Draw) -> float:
        here = kept[draw.items]
        return mean_difference(a[:, here], b[:, here]) if here.any() else float("nan")

    return adjusted


@dataclass(frozen=True)
class Fit:
    """Least squares with heteroscedasticity-robust errors: coefficients, standard errors, degrees of freedom."""

    coefficients: Array
    errors: Array
    df: int

    def estimate(self, index: int, unit: str, method: str = "least squares, HC3 errors") -> Estimate:
        """One coefficient with its interval and p-value."""
        value, error = float(self.coefficients[index]), float(self.errors[index])
        if error == 0:
            return Estimate(value=value, low=value, high=value, unit=unit, p=1.0 if value == 0 else 0.0, method=method)
        half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, self.df)) * error
        p = float(2 * stats.t.sf(abs(value) / error, self.df))
        return Estimate(value=value, low=value - half, high=value + half, unit=unit, p=p, method=method)


def regress(y: Array, columns: list[Array]) -> Fit | None:
    """Ordinary least squares of y (N,) on an intercept and columns (N,), HC3 errors (MacKinnon & White 1985).

    None when there are too few rows or the columns are not independent.
    """
    x = np.column_stack([np.ones(len(y)), *columns])
    if len(y) < x.shape[1] + 3 or np.linalg.matrix_rank(x) < x.shape[1]:
        return None
    inverse = np.linalg.inv(x.T @ x)
    coefficients = inverse @ x.T @ y
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    residual = (y - x @ coefficients) / np.maximum(1 - leverage, 1e-9)
    covariance = inverse @ (x.T * residual**2) @ x @ inverse
    return Fit(coefficients, np.sqrt(np.maximum(np.diag(covariance), 0)), len(y) - x.shape[1])
