"""Linear models with robust errors: heteroscedastic, clustered, and cut off at a scale's ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.bootstrap import Floats, sums_by_cluster
from equiloss.statistics.estimate import CONFIDENCE, Estimate, student


@dataclass(frozen=True)
class Regression:
    """Coefficients (k,), their robust standard errors (k,), and the degrees of freedom of their intervals."""

    coefficients: Floats
    errors: Floats
    df: int

    def estimate(
        self, index: int, unit: str = "", method: str = "least squares, HC3 errors", confidence: float = CONFIDENCE
    ) -> Estimate:
        """One coefficient with its interval and p-value."""
        value, error = float(self.coefficients[index]), float(self.errors[index])
        return student(value, error, self.df, unit=unit, method=method, confidence=confidence)


def regress(y: Floats, columns: Sequence[Floats]) -> Regression | None:
    """Ordinary least squares of y (N,) on an intercept and columns (N,), HC3 errors (MacKinnon & White 1985).

    None when there are too few rows or the columns are not independent.
    """
    x = np.column_stack([np.ones(len(y)), *columns])
    if len(y) < x.shape[1] + 3 or np.linalg.matrix_rank(x) < x.shape[1]:
        return None
    inverse = np.asarray(np.linalg.inv(x.T @ x), dtype=np.float64)
    coefficients = inverse @ (x.T @ y)
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    residuals = (y - x @ coefficients) / np.maximum(1 - leverage, 1e-9)
    return _sandwich(coefficients, inverse, x * residuals[:, None], len(y) - x.shape[1])


def regress_clustered(x: Floats, y: Floats, clusters: NDArray[np.intp]) -> Regression:
    """Least squares of y (N,) on x (N, k), errors robust to clusters (CR1 with the factor G/(G-1) for G clusters)."""
    inverse = np.asarray(np.linalg.pinv(x.T @ x), dtype=np.float64)
    coefficients = inverse @ (x.T @ y)
    return _clustered(coefficients, inverse, x * (y - x @ coefficients)[:, None], clusters)


def tobit(x: Floats, y: Floats, clusters: NDArray[np.intp]) -> Regression | None:
    """Two-limit Tobit of y in [0, 1] (Tobin 1958; Rosett & Nelson 1975): x (N, k), for what y would do without limits.

    By maximum likelihood, with cluster-robust (sandwich) errors; the last coefficient is the logarithm of the
    residual's standard deviation. None where too few values lie between the limits.
    """
    from scipy import optimize
    from scipy.special import log_ndtr

    low, high = y <= 1e-9, y >= 1 - 1e-9
    inside = ~(low | high)
    if inside.sum() < x.shape[1] + 2:
        return None
    start = np.linalg.lstsq(x, y, rcond=None)[0]
    sigma = max(0.02, float((y - x @ start)[inside].std()))

    def slopes(parameters: Floats) -> tuple[float, Floats, Floats]:
        """The log-likelihood, and its derivatives by each row's mean (N,) and by the logarithm of the scale (N,)."""
        scale = math.exp(float(parameters[-1]))
        mean = x @ parameters[:-1]
        z = np.where(low, -mean, np.where(high, mean - 1, y - mean)) / scale
        log_density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
        log_tail = log_ndtr(z)
        value = np.where(inside, log_density - math.log(scale), log_tail)
        mills = np.exp(np.minimum(log_density - log_tail, 50.0))
        by_mean = np.where(inside, z, np.where(low, -mills, mills)) / scale
        by_log_scale = np.where(inside, z**2 - 1, -mills * z)
        return float(value.sum()), by_mean, by_log_scale

    def objective(parameters: Floats) -> tuple[float, Floats]:
        """The mean negative log-likelihood and its gradient (k + 1,)."""
        value, by_mean, by_log_scale = slopes(parameters)
        return -value / len(y), -np.append(x.T @ by_mean, by_log_scale.sum()) / len(y)

    bounds = [(None, None)] * x.shape[1] + [(math.log(1e-3), math.log(10.0))]
    result = optimize.minimize(objective, np.append(start, math.log(sigma)), jac=True, method="L-BFGS-B", bounds=bounds)
    best = np.asarray(result.x, dtype=np.float64)
    hessian = np.empty((len(best), len(best)))
    for index in range(len(best)):
        step = np.zeros(len(best))
        step[index] = 1e-4 * max(1.0, abs(best[index]))
        up, down = objective(best + step)[1], objective(best - step)[1]
        hessian[index] = -len(y) * (up - down) / (2 * step[index])
    inverse = np.asarray(np.linalg.pinv(-(hessian + hessian.T) / 2), dtype=np.float64)
    _, by_mean, by_log_scale = slopes(best)
    return _clustered(best, inverse, np.column_stack([x * by_mean[:, None], by_log_scale]), clusters)


def standard_error(values: Floats, clusters: NDArray[np.intp] | None = None) -> float | None:
    """Standard error of a mean of values (I,); None for fewer than two of them, or of the clusters (I,), from 0.

    When the items of a cluster go together: Miller (2024), arXiv 2411.00640, section 2.2; with G/(G-1) for G clusters.
    """
    sums = values - values.mean()
    if clusters is not None:
        sums = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=sums)
    n = len(sums)
    return float(np.sqrt((sums**2).sum() * n / (n - 1))) / len(values) if n > 1 else None


def _clustered(coefficients: Floats, inverse: Floats, scores: Floats, clusters: NDArray[np.intp]) -> Regression:
    groups = len(np.unique(clusters))
    df = max(1, groups - 1)
    return _sandwich(coefficients, inverse, sums_by_cluster(scores, clusters) * math.sqrt(groups / df), df)


def _sandwich(coefficients: Floats, inverse: Floats, scores: Floats, df: int) -> Regression:
    """Errors from the inverse information (k, k) around the scores (N, k) of independent rows: Huber (1967)."""
    covariance = inverse @ (scores.T @ scores) @ inverse
    return Regression(coefficients, np.sqrt(np.maximum(np.diag(covariance), 0.0)), df)
