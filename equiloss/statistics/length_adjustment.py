"""How much of a gap goes with the lengths of the answers, and what is left at equal length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import CONFIDENCE, Interval, student_interval
from equiloss.statistics.regression import regress


@dataclass(frozen=True)
class LengthAdjusted:
    """The gap at equal length of the answers, and how scores go with length.

    `slope`: the points that go with an answer longer by about one standard deviation; `mean_length_difference`: in
    characters, a minus b.
    """

    difference: float
    interval: Interval
    slope: float
    slope_interval: Interval
    mean_length_difference: float


def adjusted(
    gap: Floats, lengths_a: Floats, lengths_b: Floats, confidence: float = CONFIDENCE
) -> LengthAdjusted | None:
    """The gap of items (I,) regressed on tanh of the standardised difference in length, read at zero difference.

    The shape of the length term is AlpacaEval's: Dubois et al. (2024), arXiv 2404.04475, equation 2; here for score
    differences, by least squares with HC3 errors (MacKinnon & White 1985). None with fewer than ten items or where
    the lengths do not differ.
    """
    present = ~(np.isnan(gap) | np.isnan(lengths_a) | np.isnan(lengths_b))
    y, longer = gap[present], (lengths_a - lengths_b)[present]
    if len(y) < 10 or float(longer.std()) == 0.0:
        return None
    fit = regress(y, [np.tanh(longer / longer.std())])
    if fit is None:
        return None
    (level, level_error), (slope, slope_error) = zip(fit.coefficients.tolist(), fit.errors.tolist(), strict=True)
    return LengthAdjusted(
        difference=level,
        interval=student_interval(level, level_error, fit.df, confidence),
        slope=slope,
        slope_interval=student_interval(slope, slope_error, fit.df, confidence),
        mean_length_difference=float(longer.mean()),
    )
