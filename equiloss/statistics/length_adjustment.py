"""How much of a gap goes with the lengths of the answers, and what is left at equal length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from equiloss.statistics.bootstrap import Floats, Interval


@dataclass(frozen=True)
class LengthAdjusted:
    """The gap at equal length, and how many points go with one standard deviation of the difference in length."""

    difference: float
    standard_error: float
    interval: Interval
    slope: float
    slope_interval: Interval
    mean_length_difference: float
    n_items: int


def adjusted(gap: Floats, lengths_a: Floats, lengths_b: Floats, confidence: float = 0.95) -> LengthAdjusted | None:
    """The gap of items (I,) regressed on tanh of the standardised difference in length, read at zero difference.

    The shape of the length term is AlpacaEval's: Dubois et al. (2024), arXiv 2404.04475, equation 2; here for score
    differences, by least squares with HC3 errors (MacKinnon & White 1985). None with fewer than ten items or where
    the lengths do not differ.
    """
    there = ~(np.isnan(gap) | np.isnan(lengths_a) | np.isnan(lengths_b))
    y, longer = gap[there], (lengths_a - lengths_b)[there]
    if len(y) < 10 or float(longer.std()) == 0.0:
        return None
    x = np.column_stack([np.ones(len(y)), np.tanh(longer / longer.std())])
    coefficients, errors = least_squares_hc3(x, y)
    t = float(stats.t.ppf((1 + confidence) / 2, len(y) - 2))
    level, slope = (float(one) for one in coefficients)
    return LengthAdjusted(
        difference=level,
        standard_error=float(errors[0]),
        interval=(level - t * float(errors[0]), level + t * float(errors[0])),
        slope=slope,
        slope_interval=(slope - t * float(errors[1]), slope + t * float(errors[1])),
        mean_length_difference=float(longer.mean()),
        n_items=len(y),
    )


def least_squares_hc3(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Coefficients of y (n,) on x (n, k), and their heteroskedasticity-consistent standard errors (HC3)."""
    inverse = np.linalg.pinv(x.T @ x)
    coefficients = inverse @ (x.T @ y)
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    residuals = (y - x @ coefficients) / np.maximum(1 - leverage, 1e-12)
    covariance = inverse @ ((x * residuals[:, None] ** 2).T @ x) @ inverse
    return coefficients, np.sqrt(np.maximum(np.diag(covariance), 0.0))


def clustered_standard_error(values: Floats, clusters: Floats) -> float | None:
    """Standard error of a mean when the items of a cluster go together (CR1); None for fewer than two clusters.

    Miller (2024), arXiv 2411.00640, section 2.2; with the factor G/(G-1) for G clusters.
    """
    labels = np.unique(clusters)
    if len(labels) < 2:
        return None
    centred = values - values.mean()
    sums = np.array([centred[clusters == label].sum() for label in labels])
    return float(np.sqrt((sums**2).sum() * len(labels) / (len(labels) - 1))) / len(values)
