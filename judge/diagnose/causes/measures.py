"""Reading `*.probe.json`: named measures of a base model, and their difference between A and B with its noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy import stats

from equiloss.statistics.estimate import Estimate

FORMAT = "equiloss.probe.v1"


@dataclass(frozen=True)
class Measure:
    """A number about a base model. `samples` are its values by key (a fact, an item), for pairing."""

    value: float
    standard_error: float | None = None
    unit: str = ""
    samples: Mapping[str, float] | None = None


def measures(probe: Mapping[str, Any] | None) -> dict[str, Measure]:
    """All measures of a probe's record by name ("cloze.other_wording_accuracy"); {} without one."""
    found: dict[str, Measure] = {}
    probes = probe.get("probes") if probe else None
    if not isinstance(probes, dict):
        return found
    for group, document in cast("dict[str, Any]", probes).items():
        listed = cast("dict[str, Any]", document).get("measures") if isinstance(document, dict) else None
        for name, one in cast("dict[str, Any]", listed if isinstance(listed, dict) else {}).items():
            if isinstance(one, dict) and isinstance(cast("dict[str, Any]", one).get("value"), (int, float)):
                entry = cast("dict[str, Any]", one)
                samples = entry.get("samples")
                found[f"{group}.{name}"] = Measure(
                    float(entry["value"]),
                    float(entry["standard_error"]) if entry.get("standard_error") is not None else None,
                    str(entry.get("unit") or ""),
                    cast("dict[str, float]", samples) if isinstance(samples, dict) else None,
                )
    return found


def difference(a: Measure, b: Measure) -> Estimate:
    """A minus B: paired over common samples where there are at least 5, else from the two standard errors."""
    if a.samples and b.samples:
        keys = [key for key in a.samples if key in b.samples]
        if len(keys) >= 5:
            d = np.array([a.samples[key] - b.samples[key] for key in keys])
            error = float(d.std(ddof=1) / math.sqrt(len(d)))
            t = float(stats.t.ppf(0.975, len(d) - 1))
            mean = float(d.mean())
            return Estimate(
                value=mean, low=mean - t * error, high=mean + t * error, unit=a.unit, method=f"paired over {len(d)}"
            )
    value = a.value - b.value
    if a.standard_error is None or b.standard_error is None:
        return Estimate(value=value, unit=a.unit, note="no interval: the probe gives one number")
    half = 1.96 * math.hypot(a.standard_error, b.standard_error)
    return Estimate(value=value, low=value - half, high=value + half, unit=a.unit, method="normal")
