"""A measure: one number about a model with its noise, as it stands in `*.probe.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def measure(
    value: float,
    *,
    unit: str,
    standard_error: float | None = None,
    n: int | None = None,
    samples: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """{value, standard_error, unit, n, samples}; `samples` are values by key, for pairing two models."""
    return {
        "value": value,
        "standard_error": standard_error,
        "unit": unit,
        "n": n,
        "samples": dict(samples) if samples is not None else None,
    }


def mean_of(values: Sequence[float], *, unit: str, keys: Sequence[str] | None = None) -> dict[str, Any]:
    """The mean of values with its standard error; with keys, the values are kept for pairing."""
    n = len(values)
    mean = sum(values) / n
    error = math.sqrt(sum((one - mean) ** 2 for one in values) / (n - 1) / n) if n > 1 else None
    samples = dict(zip(keys, values, strict=True)) if keys is not None else None
    return measure(mean, unit=unit, standard_error=error, n=n, samples=samples)
