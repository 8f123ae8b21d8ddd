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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pretrain.errors import InputError
from pretrain.runs import read_json

FORMAT = "equiloss.eval.v1"
MARGIN_NATS = 0.05
LEVEL = 0.95
DECILES = 10
CONFIDENCE_BINS = 15
PER_DOCUMENT = ("index", "domain", "tokens", "nats", "bytes", "correct")
BREAKDOWNS = ("decile_tokens", "decile_nats", "position_tokens", "position_nats")
CONFIDENCE = ("confidence_tokens", "confidence_sum", "confidence_correct")

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
class Evaluation:
    """One checkpoint's losses on one split: the JSON file's record and the npz file's arrays."""

    record: Mapping[str, Any]
    arrays: Mapping[str, Array]
    path: Path | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.record["checkpoint"]["name"])


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
    p_difference = _two_sided_p(difference)
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


def _two_sided_p(estimate: Estimate) -> float | None:
    if estimate.se is None:
        return None
    if estimate.se == 0:
        return 1.0 if estimate.value == 0 else 0.0
    return float(2 * stats.t.sf(abs(estimate.value) / estimate.se, estimate.documents - 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment; None stays None."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = largest
    return adjusted


def compare(a: Evaluation, b: Evaluation, margin_nats: float = MARGIN_NATS) -> dict[str, Any]:
    """The paired difference A - B on the same documents: equivalence overall, and every breakdown with Holm's p.

    Raises: InputError when the two were not evaluated on the same documents in the same way.
    """
    _check_comparable(a, b)
    tokens = a.arrays["tokens"]
    test = equivalence_test(a.arrays["nats"] - b.arrays["nats"], tokens, margin_nats)
    rows = {
        part: _differences(labels, sums_a - sums_b, weights)
        for part, (labels, sums_a, sums_b, weights) in _parts(a, b).items()
    }
    better = (a.arrays["nats"] < b.arrays["nats"]).mean()
    calibration = [calibration_error(x.arrays) for x in (a, b)]
    return {
        "a": a.name,
        "b": b.name,
        "margin_nats": margin_nats,
        "verdict": test.verdict,
        "p_equivalence": test.p_equivalence,
        "p_difference": test.p_difference,
        "difference_nats": asdict(test.difference),
        "documents_where_a_is_better": float(better),
        "calibration_error": {"a": calibration[0], "b": calibration[1]},
        **rows,
    }


def _check_comparable(a: Evaluation, b: Evaluation) -> None:
    def asked(evaluation: Evaluation) -> dict[str, Any]:
        data, method = evaluation.record["data"], evaluation.record["method"]
        return {"data": data["sha256"], "split": data["split"], "context_tokens": method["context_tokens"],
                "stride_tokens": method["stride_tokens"], "precision": method["precision"]}  # fmt: skip

    left, right = asked(a), asked(b)
    for key in left:
        if left[key] != right[key]:
            raise InputError(
                f"{a.name} and {b.name} were evaluated with another {key} ({left[key]!s:.12} and {right[key]!s:.12})",
                "evaluate both in one `pretrain eval A B --data DIR`",
            )
    if not np.array_equal(a.arrays["index"], b.arrays["index"]):
        raise InputError(f"{a.name} and {b.name} were evaluated on other documents", "evaluate both in one command")


Parts = dict[str, tuple[list[str], Array, Array, Array]]


def _parts(a: Evaluation, b: Evaluation) -> Parts:
    """Per breakdown: labels (K,), the sums of both (D, K), the tokens (D, K)."""
    result: Parts = {}
    for (name, labels, weights, nats_a), (_, _, _, nats_b) in zip(
        breakdowns(a.record, a.arrays), breakdowns(b.record, b.arrays), strict=True
    ):
        result[name] = (labels, nats_a, nats_b, weights)
    return result


def breakdowns(record: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[tuple[str, list[str], Array, Array]]:
    """(name, labels (K,), tokens (D, K), nats (D, K)) for domains, frequency deciles and positions."""
    names = cast("list[str]", record["data"]["domains"])
    member = arrays["domain"][:, None] == np.arange(len(names))  # (D, K)
    deciles = [f"{n + 1}" for n in range(DECILES)]
    positions = [f"{2**p - 1}-{2 ** (p + 1) - 2}" if p else "0" for p in range(arrays["position_tokens"].shape[1])]
    return [
        ("domains", names, member * arrays["tokens"][:, None], member * arrays["nats"][:, None]),
        ("frequency_deciles", deciles, arrays["decile_tokens"], arrays["decile_nats"]),
        ("positions", positions, arrays["position_tokens"], arrays["position_nats"]),
    ]


def means(labels: Sequence[str], weights: Array, sums: Array) -> list[dict[str, Any]]:
    """For each part that has tokens: its label, tokens, documents, and mean with interval. weights, sums (D, K)."""
    rows: list[dict[str, Any]] = []
    for k, label in enumerate(labels):
        has = weights[:, k] > 0
        if has.any():
            estimate = mean_over_tokens(sums[has, k], weights[has, k])
            rows.append({"name": label, "tokens": int(weights[:, k].sum()), **asdict(estimate)})
    return rows


def _differences(labels: Sequence[str], sums: Array, weights: Array) -> list[dict[str, Any]]:
    rows = means(labels, weights, sums)
    p_values = [
        _two_sided_p(Estimate(row["value"], row["se"], row["low"], row["high"], row["documents"])) for row in rows
    ]
    adjusted = holm(p_values)
    return [row | {"p": p, "p_holm": q} for row, p, q in zip(rows, p_values, adjusted, strict=True)]


def calibration_error(arrays: Mapping[str, Array]) -> float:
    """Expected calibration error of the first guess, 15 equal-width bins (Guo et al. 2017, equation 3)."""
    tokens, confidence, correct = (arrays[name].sum(0) for name in CONFIDENCE)  # each (15,)
    return float(np.abs(correct - confidence).sum() / tokens.sum())


def load(path: Path | str) -> Evaluation:
    """Read what `pretrain eval` wrote, given either of its two files.

    Raises: InputError when one is missing or damaged, or of another format.
    """
    base = Path(path)
    base = base.with_suffix(".json") if base.suffix == ".npz" else base
    record = read_json(base)
    if not isinstance(record, dict) or cast("dict[str, Any]", record).get("format") != FORMAT:
        raise InputError(f"{base}: not of the format {FORMAT}", "name an .eval.json that `pretrain eval` wrote")
    try:
        with np.load(base.with_suffix(".npz"), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in (*PER_DOCUMENT, *BREAKDOWNS, *CONFIDENCE)}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{base.with_suffix('.npz')}: {error}", "run `pretrain eval` again") from None
    return Evaluation(cast("dict[str, Any]", record), arrays, base)


def find(checkpoint: Path | str, sha256: str | None = None) -> list[Evaluation]:
    """The evaluations that stand beside a checkpoint, of that very checkpoint where its hash is given."""
    found = [load(path) for path in sorted(Path(checkpoint).parent.glob("*.eval.json"))]
    return [e for e in found if sha256 is None or e.record["checkpoint"]["sha256"] == sha256]
