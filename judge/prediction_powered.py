"""Means corrected by human labels: many judged items, some of them also rated by a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from judge.bootstrap import Floats, Interval


@dataclass(frozen=True)
class PredictionPowered:
    """The mean that people would give, estimated from the judge and the labels.

    `tuning` is the weight of the judge (0: the labels alone, 1: plain prediction-powered); `bias` is how far the
    judge lies above the person on the labelled items; `classical_standard_error` that of the labels alone.
    """

    estimate: float
    standard_error: float
    interval: Interval
    tuning: float
    bias: float
    n_labelled: int
    n_items: int
    classical_standard_error: float


def mean(judge: Floats, human: Floats, confidence: float = 0.95) -> PredictionPowered | None:
    """The mean human value over items (I,), `human` being NaN where there is no label.

    Angelopoulos et al. (2023), "Prediction-powered inference", and Angelopoulos, Duchi & Zrnic (2023), "PPI++",
    arXiv 2311.01453, section 6.1, for the weight. None with fewer than five labels or without unlabelled items.
    """
    there = ~np.isnan(judge)
    judge, human = judge[there], human[there]
    labelled = ~np.isnan(human)
    n, rest = int(labelled.sum()), int((~labelled).sum())
    if n < 5 or rest < 2:
        return None
    y, seen, unseen = human[labelled], judge[labelled], judge[~labelled]
    spread = float(judge.var(ddof=1))
    covariance = float(np.cov(y, seen, ddof=1)[0, 1])
    weight = 0.0 if spread == 0 else min(1.0, max(0.0, covariance / ((1 + n / rest) * spread)))
    estimate = weight * float(unseen.mean()) + float((y - weight * seen).mean())
    variance = weight**2 * float(unseen.var(ddof=1)) / rest + float((y - weight * seen).var(ddof=1)) / n
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * float(np.sqrt(variance))
    return PredictionPowered(
        estimate=estimate,
        standard_error=float(np.sqrt(variance)),
        interval=(estimate - half, estimate + half),
        tuning=weight,
        bias=float((seen - y).mean()),
        n_labelled=n,
        n_items=n + rest,
        classical_standard_error=float(y.std(ddof=1) / np.sqrt(n)),
    )
