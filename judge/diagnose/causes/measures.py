"""The difference between A's and B's base model in a measure of `pretrain probe`, with its noise."""

from __future__ import annotations

import math

import numpy as np

from equiloss.records.probe import Measure
from equiloss.statistics.estimate import Estimate, student_interval


def difference(a: Measure, b: Measure) -> Estimate:
    """A minus B: paired over common samples where there are at least 5, else from the two standard errors.

    Samples of a share that are all alike have no spread, and others could still differ: see `_unseen`.
    """
    of_a, of_b = a.samples or {}, b.samples or {}
    common = [key for key in of_a if key in of_b]
    paired = np.array([of_a[key] - of_b[key] for key in common])
    if len(paired) >= 5:
        error = float(paired.std(ddof=1)) / math.sqrt(len(paired))
        mean = float(paired.mean())
        low, high = student_interval(mean, error, len(paired) - 1)
        if error == 0.0 and {side[key] for key in common for side in (of_a, of_b)} <= {0.0, 1.0}:
            low, high = max(-1.0, mean - _unseen(len(paired))), min(1.0, mean + _unseen(len(paired)))
        return Estimate(value=mean, low=low, high=high, unit=a.unit, method=f"paired over {len(paired)}")
    value = a.value - b.value
    if a.standard_error is None or b.standard_error is None:
        return Estimate(value=value, unit=a.unit, note="no interval: the probe gives one number")
    alike = [_unseen(one.n) if one.n and not one.standard_error and one.value in (0.0, 1.0) else 0.0 for one in (a, b)]
    half = math.hypot(1.96 * a.standard_error, 1.96 * b.standard_error, *alike)
    return Estimate(value=value, low=value - half, high=value + half, unit=a.unit, method="normal")


def _unseen(n: int) -> float:
    """The share of others that could still be unlike n that are all alike: the exact upper bound, 97.5 %."""
    return 1.0 - 0.025 ** (1.0 / n)


def no_effect(effect: Estimate, least: float) -> str:
    """Why a difference in a measure makes no gap; "" where it could."""
    if not effect.excludes(0.0):
        return "is within noise"
    return "is too small to matter" if abs(effect.value) < least else ""
