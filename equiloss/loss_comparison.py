"""Two base models' per-document losses set side by side: overall, by domain, token frequency and position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiloss import commands
from equiloss.errors import InputError
from equiloss.records.evaluation import CONFIDENCE, Evaluation, breakdowns
from equiloss.statistics.equivalence import MARGIN_NATS, Estimate, equivalence_test, mean_over_tokens, two_sided_p
from equiloss.statistics.multiplicity import holm

Array = NDArray[Any]


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
                f"evaluate both in one `{commands.pretrain_eval([x.record['checkpoint']['path'] for x in (a, b)])}`",
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
        two_sided_p(Estimate(row["value"], row["se"], row["low"], row["high"], row["documents"])) for row in rows
    ]
    adjusted = holm(p_values)
    return [row | {"p": p, "p_holm": q} for row, p, q in zip(rows, p_values, adjusted, strict=True)]


def calibration_error(arrays: Mapping[str, Array]) -> float:
    """Expected calibration error of the first guess, 15 equal-width bins (Guo et al. 2017, equation 3)."""
    tokens, confidence, correct = (arrays[name].sum(0) for name in CONFIDENCE)  # each (15,)
    return float(np.abs(correct - confidence).sum() / tokens.sum())
