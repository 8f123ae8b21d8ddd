"""How much a judge's score of one answer varies when it judges again, away from the scale's ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Interval

_AWAY = 1.5  # standard deviations that an answer's mean keeps from the scale's ends
_FEWEST = 5


@dataclass(frozen=True)
class Noise:
    """The standard deviation of one verdict around the answer's mean, a share of the scale; of how many answers."""

    value: float
    interval: Interval
    n_answers: int


def estimate(shares: Floats, shifts: Floats, step: float, confidence: float = 0.95) -> Noise | None:
    """The noise in repeated verdicts (R, answers), 0 to 1, NaN where missing; None with too few repeated answers.

    `shifts` (R, answers) is what is known to move a verdict (its place); `step` the scale's, whose rounding is taken
    out (Sheppard 1898). At its ends a scale hides noise, so only answers count whose mean lies 1.5 standard
    deviations away from them; choosing by the mean does no harm, since deviations from it do not depend on it. The
    interval holds for noise of any shape: it is made of the spread of the answers' variances.
    """
    repeated = (~np.isnan(shares)).sum(axis=0) >= 2
    present: NDArray[np.bool_] = np.asarray(~np.isnan(shares[:, repeated]))
    counts = present.sum(axis=0)
    values = np.where(present, (shares - shifts)[:, repeated], 0.0)
    if len(counts) < _FEWEST:
        return None
    middles = values.sum(axis=0) / counts
    squares = (np.where(present, values - middles, 0.0) ** 2).sum(axis=0)
    chosen = np.ones(len(counts), dtype=np.bool_)
    variance = 0.0
    for _ in range(20):
        variance = float(squares[chosen].sum() / (counts[chosen] - 1).sum())
        away = _AWAY * math.sqrt(variance)
        again = (middles >= away) & (middles <= 1 - away)
        if again.sum() < _FEWEST:
            return None
        if (again == chosen).all():
            break
        chosen = again
    corrected = max(0.0, variance - (step**2 / 12 if variance > 0 else 0.0))
    if corrected == 0.0:
        return Noise(0.0, (0.0, step / 2), int(chosen.sum()))
    m, free = int(chosen.sum()), counts[chosen] - 1
    error = math.sqrt(float(((squares[chosen] - free * variance) ** 2).sum()) * m / (m - 1)) / float(free.sum())
    half = float(stdtrit(m - 1, (1 + confidence) / 2)) * error / (2 * corrected)
    value = math.sqrt(corrected)
    return Noise(value, (value * math.exp(-half), value * math.exp(half)), m)
