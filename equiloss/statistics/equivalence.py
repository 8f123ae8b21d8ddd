"""Per-document losses of base models: the files they are kept in, their means, and whether two models are equivalent.

`pretrain eval` writes two files for a checkpoint and a split of some data. NAME.eval.json (format "equiloss.eval.v1")
is for reading: what was evaluated (`checkpoint`, `data`, `method`) and every mean with its interval. NAME.eval.npz
holds the sums that the means come from, a row for each of D documents, so that any two files on the same data can be
compared:

    index (D,)     the document's number in the split
    domain (D,)    its domain, a number into `data.domains` of the JSON file
    tokens, nats, bytes, correct (D,)      targets, their summed loss, the text's UTF-8 bytes, right first guesses
    decile_tokens, decile_nats (D, 10)     by how frequent the target is in the training split, 0 the commonest
    position_tokens, position_nats (D, P)  by place in the document: bin p holds places 2**p - 1 ... 2**(p+1) - 2
    confidence_tokens, confidence_sum, confidence_correct (D, 15)   by the probability of the first guess

Documents are the clusters of every interval: tokens of one text are not independent. A mean over tokens is a ratio of
two sums over documents, sum(nats) / sum(tokens), so its variance is the linearised one of a ratio estimator under
cluster sampling (Cochran, Sampling Techniques, 3rd ed., section 6.4), with Student's t on D - 1 degrees of freedom.
Imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray
from scipy import stats

from equiloss.errors import InputError

MARGIN_NATS = 0.05
LEVEL = 0.95

Array = NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error and its interval; None where a single document gives none."""

    value: float
    se: float | None
    low: float | None
    high: float | None
    documents: int

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        scale = [None if x is None else x * factor for x in (self.se, self.low, self.high)]
        return Estimate(self.value * factor, scale[0], scale[1], scale[2], self.documents)


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of |difference| < margin, and their verdict.

    equivalent: both one-sided tests reject at 1 - `LEVEL`. different: they do not, and the interval excludes 0.
    undetermined: neither; more documents would tell. `p_difference` tests the difference against 0, two-sided.
    """

    verdict: Literal["equivalent", "different", "undetermined"]
    difference: Estimate
    margin_nats: float
    p_equivalence: float | None
    p_difference: float | None


def mean_over_tokens(sums: Array, weights: Array, level: float = LEVEL) -> Estimate:
    """sum(sums) / sum(weights) over documents (D,), with an interval clustered by document.

    Raises: ValueError when all weights are 0.
    """
    total = float(weights.sum())
    if total <= 0:
        raise ValueError("no tokens to average over")
    value = float(sums.sum()) / total
    count = len(sums)
    if count < 2:
        return Estimate(value, None, None, None, count)
    residuals = sums - value * weights
    se = math.sqrt(count / (count - 1) * float((residuals**2).sum())) / total
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * se
    return Estimate(value, se, value - half, value + half, count)


def equivalence_test(sums: Array, weights: Array, margin_nats: float = MARGIN_NATS) -> Equivalence:
    """TOST (Schuirmann 1987) on paired per-document loss differences `sums` (D,) in nats over `weights` (D,) tokens."""
    if not margin_nats > 0:
        raise InputError(f"a margin of {margin_nats} nats", "it must be above 0")
    difference = mean_over_tokens(sums, weights)
    if difference.se is None or difference.low is None or difference.high is None:
        return Equivalence("undetermined", difference, margin_nats, None, None)
    p_difference = two_sided_p(difference)
    if difference.se == 0:
        p_equivalence = 0.0 if abs(difference.value) < margin_nats else 1.0
    else:
        t = (margin_nats - abs(difference.value)) / difference.se  # the larger of the two p values
        p_equivalence = float(stats.t.sf(t, difference.documents - 1))
    verdict: Literal["equivalent", "different", "undetermined"] = "undetermined"
    if p_equivalence < 1 - LEVEL:
        verdict = "equivalent"
    elif difference.low > 0 or difference.high < 0:
        verdict = "different"
    return Equivalence(verdict, difference, margin_nats, p_equivalence, p_difference)


def two_sided_p(estimate: Estimate) -> float | None:
    """The p value of the t test of "the difference is 0", over documents; None without a standard error."""
    if estimate.se is None:
        return None
    if estimate.se == 0:
        return 1.0 if estimate.value == 0 else 0.0
    return float(2 * stats.t.sf(abs(estimate.value) / estimate.se, estimate.documents - 1))
