"""Means over the tokens of documents, and whether two base models' losses are equivalent.

Documents are the clusters of every interval: tokens of one text are not independent. A mean over tokens is a ratio of
two sums over documents, sum(nats) / sum(tokens), so its variance is the linearised one of a ratio estimator under
cluster sampling (Cochran, Sampling Techniques, 3rd ed., section 6.4), with Student's t on D - 1 degrees of freedom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray
from scipy.special import stdtr

from equiloss.errors import InputError
from equiloss.statistics.estimate import ClusteredMean, student_interval, student_p

MARGIN_NATS = 0.05
LEVEL = 0.95

Array = NDArray[Any]
EquivalenceVerdict = Literal["equivalent", "different", "undetermined"]


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of |difference| < margin, and their verdict.

    equivalent: both one-sided tests reject at 1 - `LEVEL`. different: they do not, and the interval excludes 0.
    undetermined: neither; more documents would tell. `p_difference` tests the difference against 0, two-sided.
    """

    verdict: EquivalenceVerdict
    difference: ClusteredMean
    margin_nats: float
    p_equivalence: float | None
    p_difference: float | None


def mean_over_tokens(sums: Array, weights: Array, level: float = LEVEL) -> ClusteredMean:
    """sum(sums) / sum(weights) over documents (D,), with an interval clustered by document.

    Raises: ValueError when all weights are 0.
    """
    total = float(weights.sum())
    if total <= 0:
        raise ValueError("no tokens to average over")
    value = float(sums.sum()) / total
    count = len(sums)
    if count < 2:
        return ClusteredMean(value=value, documents=count)
    residuals = sums - value * weights
    se = math.sqrt(count / (count - 1) * float((residuals**2).sum())) / total
    low, high = student_interval(value, se, count - 1, level)
    return ClusteredMean(value=value, se=se, low=low, high=high, documents=count)


def equivalence_test(sums: Array, weights: Array, margin_nats: float = MARGIN_NATS) -> Equivalence:
    """TOST (Schuirmann 1987) on paired per-document loss differences `sums` (D,) in nats over `weights` (D,) tokens."""
    if not margin_nats > 0:
        raise InputError(f"a margin of {margin_nats} nats", "it must be above 0")
    difference = mean_over_tokens(sums, weights)
    if difference.se is None or difference.low is None or difference.high is None:
        return Equivalence("undetermined", difference, margin_nats, None, None)
    if difference.se == 0:
        p_equivalence = 0.0 if abs(difference.value) < margin_nats else 1.0
    else:
        t = (margin_nats - abs(difference.value)) / difference.se  # the larger of the two p values
        p_equivalence = float(stdtr(difference.documents - 1, -t))
    verdict: EquivalenceVerdict = "undetermined"
    if p_equivalence < 1 - LEVEL:
        verdict = "equivalent"
    elif difference.low > 0 or difference.high < 0:
        verdict = "different"
    return Equivalence(verdict, difference, margin_nats, p_equivalence, two_sided_p(difference))


def two_sided_p(mean: ClusteredMean) -> float | None:
    """The p value of the t test of a mean against 0; None where a single document gives none."""
    return None if mean.se is None else student_p(mean.value, mean.se, mean.documents - 1)
