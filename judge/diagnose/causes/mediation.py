"""Does the gap follow a measure item by item? The share of it that the measure's difference predicts."""

from __future__ import annotations

import numpy as np

from equiloss.numerals import estimated
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.gap import Draw, Gap
from equiloss.statistics.missing import present_mean
from equiloss.statistics.regression import regress
from judge.diagnose.case import Case
from judge.diagnose.causes.location import LEAST_ITEMS
from judge.diagnose.causes.measures import Measure
from judge.diagnose.causes.patterns import Pattern
from judge.diagnose.naming import ALPHA


def mediated(case: Case, gap: Gap, a: Measure, b: Measure) -> Pattern:
    """The share that an item-by-item difference of the measure predicts: slope × mean difference / gap."""
    if not a.samples or not b.samples:
        return Pattern(None, "", False)
    m = np.array([a.samples.get(one, np.nan) - b.samples.get(one, np.nan) for one in case.ids])
    there = ~np.isnan(m) & ~np.isnan(gap.paired)
    fit = regress(gap.paired[there], [m[there]]) if there.sum() >= 2 * LEAST_ITEMS else None
    if fit is None:
        return Pattern(None, "Too few items carry the measure to see where the gap lies.", False)
    slope = fit.estimate(1, gap.unit)
    fits = slope.value > 0 and slope.p is not None and slope.p < ALPHA

    def left(one_a: Floats, one_b: Floats, draw: Draw) -> float:
        d, x = present_mean(one_a) - present_mean(one_b), m[draw.items]
        both = ~np.isnan(d) & ~np.isnan(x)
        again = regress(d[both], [x[both]])
        return float("nan") if again is None else float(d[both].mean() - again.coefficients[1] * x[both].mean())

    says = f"Over items, the gap rises with the difference in the measure by {estimated(slope)} per unit."
    return Pattern(gap.share(left, "predicted item by item") if fits else None, says, not fits)
