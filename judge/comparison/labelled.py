"""What a comparison says of a person's labels: each model's mean and each gap as that person would see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics import prediction_powered
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.prediction_powered import PredictionPoweredMean
from judge.comparison.document import HumanEstimate, HumanGap
from judge.labelling.label import Key


def mean(
    runs: Sequence[str],
    values: Floats,
    ratings: Mapping[Key, float],
    ids: Sequence[str],
    clusters: NDArray[np.intp],
    confidence: float,
) -> PredictionPoweredMean | None:
    """The mean that the person would give a model with scores (S, I); None where too few answers are labelled."""
    if not ratings:
        return None
    human = np.array([[ratings.get((run, key), np.nan) for key in ids] for run in runs])  # (S, I)
    return prediction_powered.mean(values, human, confidence, clusters)


def estimate(found: PredictionPoweredMean | None) -> HumanEstimate | None:
    """A model's part of the document."""
    if found is None:
        return None
    return HumanEstimate(
        mean=found.mean,
        standard_error=found.standard_error,
        interval=found.interval,
        judge_bias=found.judge_bias,
        judge_weight=found.judge_weight,
        n_labelled=found.n_labelled,
        labels_only_standard_error=found.labels_only_standard_error,
    )


def gap(
    a: PredictionPoweredMean | None, b: PredictionPoweredMean | None, confidence: float, clusters: NDArray[np.intp]
) -> HumanGap | None:
    """A difference's part of the document; None where one of the two has no estimate."""
    if a is None or b is None:
        return None
    found = prediction_powered.gap(a, b, confidence, clusters)
    return HumanGap(
        difference=found.difference,
        standard_error=found.standard_error,
        interval=found.interval,
        p=found.p,
        n_labelled=found.n_labelled,
    )


def warnings(names: Sequence[str], found: Sequence[PredictionPoweredMean | None], given: bool) -> list[str]:
    """Which models have too few labels, where labels were given at all."""
    alone = [name for name, one in zip(names, found, strict=True) if one is None]
    if not given or not alone:
        return []
    return [f"{', '.join(alone)}: fewer than {prediction_powered.FEWEST_LABELS} labelled answers, so no human estimate"]
