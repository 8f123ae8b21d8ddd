"""Two judgings of the same answers: how far the second is shifted, stretched, ordered otherwise, and drifting.

Scores x and y (N,) are of the same N answers, on one scale; answers to one item go together (clusters). Standard
errors of the slope and the rank correlation are delete-a-group jackknives over items (Efron & Stein 1981), with
Student's t on one degree of freedom less than there are groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.agreement import spearman
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import CONFIDENCE, Estimate, student
from equiloss.statistics.regression import regress, standard_error

GROUPS = 200
"""The most groups of items that a jackknife leaves out in turn."""

Clusters = NDArray[np.intp]


def shift(x: Floats, y: Floats, clusters: Clusters, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of y - x, in points; without bounds for fewer than two items."""
    error = standard_error(y - x, clusters)
    value, method = float((y - x).mean()), "t interval over items"
    if error is None:
        return Estimate(value=value, unit="points", note="fewer than two items")
    return student(value, error, _count(clusters) - 1, unit="points", confidence=confidence, method=method)


def slope(x: Floats, y: Floats, clusters: Clusters, confidence: float = CONFIDENCE) -> Estimate | None:
    """What a point of x is worth in y: the line through both where both err alike, so that a second judging has 1.

    Deming's regression with a ratio of 1 (orthogonal), jackknifed: Linnet (1993), Evaluation of regression procedures
    for methods comparison studies. None where it is not determined.
    """
    return _jackknifed(x, y, clusters, _deming, confidence)


def rank_agreement(x: Floats, y: Floats, clusters: Clusters, confidence: float = CONFIDENCE) -> Estimate | None:
    """Spearman's rank correlation of the answers, jackknifed; None where one judging does not vary."""
    found = _jackknifed(x, y, clusters, spearman, confidence)
    if found is None or found.low is None or found.high is None:
        return None
    return found.model_copy(update={"low": max(-1.0, found.low), "high": min(1.0, found.high), "p": None})


def drift(x: Floats, y: Floats, clusters: Clusters, confidence: float = CONFIDENCE) -> Estimate | None:
    """How far y moves away from x between the first item and the last, in points; None for fewer than five items.

    `clusters` are numbered from 0 in the order in which y was judged. Least squares of the items' means, HC3 errors.
    """
    sums = np.bincount(clusters, weights=y - x)
    fit = regress(sums / np.bincount(clusters), [np.linspace(0, 1, len(sums))])
    return fit.estimate(1, "points", confidence=confidence) if fit else None


def _deming(x: Floats, y: Floats) -> float | None:
    xx, yy, xy = float(np.var(x)), float(np.var(y)), float(np.cov(x, y, bias=True)[0, 1])
    if xy == 0 or xx == 0:
        return None
    return (yy - xx + math.hypot(yy - xx, 2 * xy)) / (2 * xy)


def _jackknifed(
    x: Floats, y: Floats, clusters: Clusters, statistic: Callable[[Floats, Floats], float | None], confidence: float
) -> Estimate | None:
    value = statistic(x, y)
    groups = clusters % GROUPS
    numbers = np.unique(groups)
    if value is None or len(numbers) < 3:
        return None
    without = [statistic(x[groups != number], y[groups != number]) for number in numbers]
    known = np.array([one for one in without if one is not None])
    if len(known) < len(without):
        return None
    n = len(known)
    error = math.sqrt((n - 1) / n * float(((known - known.mean()) ** 2).sum()))
    return student(value, error, n - 1, confidence=confidence, method="jackknife over items")


def _count(clusters: Clusters) -> int:
    return len(np.unique(clusters))
