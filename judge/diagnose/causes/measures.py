"""The difference between A's and B's base model in a measure of `pretrain probe`, with its noise."""

from __future__ import annotations

import math

import numpy as np

from equiloss.records.probe import Measure
from equiloss.statistics.estimate import Estimate, student_interval


def difference(a: Measure, b: Measure) -> Estimate:
    """A minus B: paired over common samples where there are at least 5, else from the two standard errors."""
    of_a, of_b = a.samples or {}, b.samples or {}
    paired = np.array([of_a[key] - of_b[key] for key in of_a if key in of_b])
    if len(paired) >= 5:
        error = float(paired.std(ddof=1)) / math.sqrt(len(paired))
        mean = float(paired.mean())
        low, high = student_interval(mean, error, len(paired) - 1)
        return Estimate(value=mean, low=low, high=high, unit=a.unit, method=f"paired over {len(paired)}")
    value = a.value - b.value
    if a.standard_error is None or b.standard_error is None:
        return Estimate(value=value, unit=a.unit, note="no interval: the probe gives one number")
    half = 1.96 * math.hypot(a.standard_error, b.standard_error)
    return Estimate(value=value, low=value - half, high=value + half, unit=a.unit, method="normal")


def no_effect(effect: Estimate, least: float) -> str:
    """Why a difference in a measure makes no gap; "" where it could."""
    if not effect.excludes(0.0):
        return "is within noise"
    return "is too small to matter" if abs(effect.value) < least else ""
