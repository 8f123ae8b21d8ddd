"""Means and gaps corrected by human labels: many judged answers, some of them also rated by a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.crossed import Clusters, Crossed, Stratum, complete, with_units
from equiloss.statistics.estimate import CONFIDENCE, Interval

FEWEST_LABELS = 5


@dataclass(frozen=True)
class PredictionPoweredMean:
    """The mean that people would give, estimated from the judge and the labels.

    `judge_weight` is 0 where the labels alone count, 1 for plain prediction-powered inference; `judge_bias` is how far
    the judge lies above the person on the labelled answers; `labels_only_standard_error` is that of the labels alone.
    `df` are the degrees of freedom, one less than the items or clusters with labels.
    `influence` is each item's part in the estimate's error, (I,): its sum of squares is the variance over items.
    `runs` (S, I) is what the judge gave each run, in units of the labels' spread: how runs differ for people is taken
    to be how they differ for the judge.
    """

    mean: float
    standard_error: float
    interval: Interval
    judge_weight: float
    judge_bias: float
    n_labelled: int
    labels_only_standard_error: float
    df: float
    influence: Floats
    runs: Floats


@dataclass(frozen=True)
class PredictionPoweredGap:
    """The gap that people would see between two models: a minus b; `n_labelled` are the labelled answers of each."""

    difference: float
    standard_error: float
    interval: Interval
    p: float
    n_labelled: tuple[int, int]


def mean(
    judge: Floats,
    human: Floats,
    confidence: float = CONFIDENCE,
    clusters: Clusters | None = None,
    weight: float | None = None,
) -> PredictionPoweredMean | None:
    """The mean human value of judged answers (I,), or (S, I) for S seeds; `human` is NaN where there is no label.

    Labels must be of answers drawn at random, as `judge label` draws them. The runs of an item go together, and so do
    items with the same number in `clusters` (I,); several runs are a sample of runs. `weight`: the judge's, where it is
    known from elsewhere (`common_weight`); None: the best for these labels.
    Angelopoulos et al. (2023), "Prediction-powered inference", arXiv 2301.09633; the weight: Angelopoulos, Duchi &
    Zrnic (2023), "PPI++", arXiv 2311.01453, section 6.1. With fewer than two answers without a label the labels alone
    count. None with fewer than five labels, or where they are all of one item or cluster.
    """
    judge, human = np.atleast_2d(judge), np.atleast_2d(human)
    present = ~np.isnan(judge)
    labelled, bare = present & ~np.isnan(human), present & np.isnan(human)
    n, rest = int(labelled.sum()), int(bare.sum())
    if n < FEWEST_LABELS:
        return None
    numbers = np.arange(judge.shape[1], dtype=np.intp) if clusters is None else clusters
    groups = np.broadcast_to(numbers, judge.shape)
    y, seen, unseen = human[labelled], judge[labelled], judge[bare]
    weight = common_weight([(judge, human)]) if weight is None else weight
    weight = 0.0 if rest < 2 else weight
    rectifier = y - weight * seen
    # Each answer's part in the error; divided so that independent answers give the sample variances of the paper.
    parts = np.zeros(judge.shape)
    sizes = np.unique(groups[labelled], return_counts=True)[1]
    if len(sizes) < 2:
        return None
    if weight:
        parts[bare] = weight * (unseen - unseen.mean()) * _per_answer(groups[bare])
    parts[labelled] = (rectifier - rectifier.mean()) * _per_answer(groups[labelled])
    influence = parts.sum(axis=0)
    estimate = (weight * float(unseen.mean()) if weight else 0.0) + float(rectifier.mean())
    spread = float(judge[present].var(ddof=1))
    runs = complete(judge[present.any(axis=1)]) * (float(y.std(ddof=1)) / np.sqrt(spread) if spread else 0.0)
    df = len(sizes) - 1
    crossed = _crossed(estimate, influence, [Stratum(runs, 1.0)], df, clusters)
    return PredictionPoweredMean(
        mean=estimate,
        standard_error=crossed.standard_error,
        interval=crossed.interval(confidence),
        judge_weight=weight,
        judge_bias=float((seen - y).mean()),
        n_labelled=n,
        labels_only_standard_error=float(y.std(ddof=1) / np.sqrt(n)),
        df=df,
        influence=influence,
        runs=runs,
    )


def common_weight(models: Sequence[tuple[Floats, Floats]]) -> float:
    """The judge's weight that makes the variances of several models' means least together, from all their labels.

    `models`: what the judge and people gave the answers of each, as `mean` takes them. A few labels of one model alone
    make the weight so uncertain that its interval becomes too narrow; one weight for all hardly depends on any of them.
    """
    above = below = 0.0
    for judge, human in models:
        present = ~np.isnan(judge)
        labelled = present & ~np.isnan(human)
        n, rest = int(labelled.sum()), int(present.sum() - labelled.sum())
        if n >= FEWEST_LABELS and rest >= 2:
            above += float(np.cov(human[labelled], judge[labelled], ddof=1)[0, 1]) / n
            below += float(judge[present].var(ddof=1)) * (1 / n + 1 / rest)
    return min(1.0, max(0.0, above / below)) if below else 0.0


def _per_answer(groups: NDArray[np.intp]) -> float:
    """What deviations from a mean are multiplied by, so that the squares of their sums by group add up to its variance.

    Exact for independent answers; where each is a group of its own, 1 / sqrt(n (n - 1)).
    """
    n, sizes = len(groups), np.unique(groups, return_counts=True)[1]
    free = n - float((sizes**2).sum()) / n
    return 1 / np.sqrt(n * free) if free > 0 else 0.0


def gap(
    a: PredictionPoweredMean,
    b: PredictionPoweredMean,
    confidence: float = CONFIDENCE,
    clusters: Clusters | None = None,
) -> PredictionPoweredGap:
    """The gap between two models' means, paired: what an item does to both cancels. `a` and `b` are of equal items."""
    strata = [Stratum(a.runs, 1.0), Stratum(b.runs, -1.0, 1)]
    df = min(a.df, b.df)
    crossed = _crossed(a.mean - b.mean, a.influence - b.influence, strata, df, clusters)
    return PredictionPoweredGap(
        difference=crossed.value,
        standard_error=crossed.standard_error,
        interval=crossed.interval(confidence),
        p=crossed.p,
        n_labelled=(a.n_labelled, b.n_labelled),
    )


def _crossed(value: float, influence: Floats, strata: list[Stratum], df: float, clusters: Clusters | None) -> Crossed:
    """The value over items (or clusters of them), and over runs where there are several."""
    sums = influence if clusters is None else np.bincount(clusters, weights=influence)
    items = Crossed(value, float((sums**2).sum()), df)
    there = ~np.any([np.isnan(stratum.values).any(axis=0) for stratum in strata], axis=0)
    strata = [Stratum(stratum.values[:, there], stratum.weight, stratum.side) for stratum in strata]
    return with_units(items, strata, None if clusters is None else clusters[there]) or items
