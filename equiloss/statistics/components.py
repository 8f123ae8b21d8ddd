"""Sums and differences of mean squares: variance components and their totals, with intervals.

Modified large-sample intervals: Graybill & Wang (1980), Confidence intervals on nonnegative linear combinations of
variances; with negative terms Ting, Burdick, Graybill, Jeyaratnam & Lu (1990), without their terms of products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from equiloss.statistics.estimate import CONFIDENCE, Estimate


@dataclass(frozen=True)
class MeanSquare:
    """A variance that was estimated on `df` degrees of freedom, and how often it counts in a sum."""

    value: float
    df: float
    factor: float = 1.0


def total(squares: Sequence[MeanSquare], unit: str = "points²", confidence: float = CONFIDENCE) -> Estimate:
    """The sum of factor x mean square, at least 0, with its interval; `squares` of normal values."""
    value, below, above = 0.0, 0.0, 0.0
    for square in squares:
        part = square.factor * square.value
        value += part
        down, up = ((part * ratio) ** 2 for ratio in _ratios(square.df, confidence))
        below, above = (below + down, above + up) if part > 0 else (below + up, above + down)
    low, high = max(0.0, value - math.sqrt(below)), max(0.0, value + math.sqrt(above))
    return Estimate(value=max(0.0, value), low=low, high=high, unit=unit, confidence=confidence, method="MLS")


def standard_deviation(variance: Estimate, unit: str = "points", factor: float = 1.0) -> Estimate:
    """`factor` x the square root of a variance and of its interval's ends."""
    value, low, high = (
        None if end is None else factor * math.sqrt(max(0.0, end))
        for end in (variance.value, variance.low, variance.high)
    )
    return variance.model_copy(update={"value": value, "low": low, "high": high, "unit": unit})


def _ratios(df: float, confidence: float) -> tuple[float, float]:
    """How far below and above a mean square its true value may lie, as shares of it (chi-square)."""
    from scipy.special import chdtri

    tail = (1 - confidence) / 2
    low, high = (df / float(chdtri(df, above)) for above in (tail, 1 - tail))
    return 1 - low, high - 1
