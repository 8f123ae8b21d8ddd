"""Means and gaps corrected by human labels: many judged answers, some of them also rated by a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from equiloss.statistics.bootstrap import Floats, Interval

FEWEST_LABELS = 5


@dataclass(frozen=True)
class PredictionPowered:
    """The mean that people would give, estimated from the judge and the labels.

    `tuning` is the weight of the judge (0: the labels alone, 1: plain prediction-powered); `bias` is how far the
    judge lies above the person on the labelled answers; `classical_standard_error` that of the labels alone.
    `influence` is each item's part in the estimate's error, (I,): its sum of squares is the variance.
    """

    estimate: float
    standard_error: float
    interval: Interval
    tuning: float
    bias: float
    n_labelled: int
    n_items: int
    classical_standard_error: float
    influence: Floats


@dataclass(frozen=True)
class Gap:
    """The gap that people would see between two models: a minus b."""

    difference: float
    standard_error: float
    interval: Interval
    p: float
    n_labelled: tuple[int, int]


def mean(
    judge: Floats, human: Floats, confidence: float = 0.95, clusters: NDArray[np.intp] | None = None
) -> PredictionPowered | None:
    """The mean human value of judged answers (I,), or (S, I) for S seeds; `human` is NaN where there is no label.

    Labels must be of answers drawn at random, as `judge label` draws them. The seeds of an item go together, and so
    do items with the same number in `clusters` (I,).
    Angelopoulos et al. (2023), "Prediction-powered inference", arXiv 2301.09633; the weight: Angelopoulos, Duchi &
    Zrnic (2023), "PPI++", arXiv 2311.01453, section 6.1. None with fewer than five labels or two unlabelled answers.
    """
    judge, human = np.atleast_2d(judge), np.atleast_2d(human)
    there = ~np.isnan(judge)
    labelled, bare = there & ~np.isnan(human), there & np.isnan(human)
    n, rest = int(labelled.sum()), int(bare.sum())
    if n < FEWEST_LABELS or rest < 2:
        return None
    y, seen, unseen = human[labelled], judge[labelled], judge[bare]
    spread = float(judge[there].var(ddof=1))
    covariance = float(np.cov(y, seen, ddof=1)[0, 1])
    weight = 0.0 if spread == 0 else min(1.0, max(0.0, covariance / ((1 + n / rest) * spread)))
    rectifier = y - weight * seen
    # Each answer's part in the error; divided so that independent answers give the sample variances of the paper.
    parts = np.zeros(judge.shape)
    parts[bare] = weight * (unseen - unseen.mean()) / np.sqrt(rest * (rest - 1))
    parts[labelled] = (rectifier - rectifier.mean()) / np.sqrt(n * (n - 1))
    influence = parts.sum(axis=0)
    estimate = weight * float(unseen.mean()) + float(rectifier.mean())
    error = _error(influence, clusters)
    return PredictionPowered(
        estimate=estimate,
        standard_error=error,
        interval=_interval(estimate, error, n - 1, confidence),
        tuning=weight,
        bias=float((seen - y).mean()),
        n_labelled=n,
        n_items=n + rest,
        classical_standard_error=float(y.std(ddof=1) / np.sqrt(n)),
        influence=influence,
    )


def gap(
    a: PredictionPowered, b: PredictionPowered, confidence: float = 0.95, clusters: NDArray[np.intp] | None = None
) -> Gap:
    """The gap between two models' means, paired: what an item does to both cancels. `a` and `b` are of equal items."""
    difference = a.estimate - b.estimate
    error = _error(a.influence - b.influence, clusters)
    df = min(a.n_labelled, b.n_labelled) - 1
    p = 2 * float(stats.t.sf(abs(difference) / error, df)) if error > 0 else float(difference == 0)
    return Gap(difference, error, _interval(difference, error, df, confidence), p, (a.n_labelled, b.n_labelled))


def _error(influence: Floats, clusters: NDArray[np.intp] | None) -> float:
    sums = influence if clusters is None else np.bincount(clusters, weights=influence)
    return float(np.sqrt((sums**2).sum()))


def _interval(value: float, error: float, df: int, confidence: float) -> Interval:
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * error
    return value - half, value + half
