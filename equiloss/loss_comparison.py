"""Base models' per-document losses: the record of one, and two side by side, overall and by part of the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from equiloss import commands
from equiloss.errors import InputError
from equiloss.provenance import provenance
from equiloss.records.evaluation import (
    CONFIDENCE,
    CONFIDENCE_BINS,
    Array,
    Calibration,
    CalibrationBin,
    EvaluatedCheckpoint,
    EvaluatedData,
    Evaluation,
    EvaluationMethod,
    EvaluationRecord,
    PartMean,
    breakdowns,
)
from equiloss.records.file_record import FileRecord
from equiloss.statistics.equivalence import (
    LEVEL,
    MARGIN_NATS,
    EquivalenceVerdict,
    equivalence_test,
    mean_over_tokens,
    two_sided_p,
)
from equiloss.statistics.estimate import ClusteredMean, student_interval
from equiloss.statistics.multiplicity import holm


class PartDifference(PartMean):
    """The difference in loss in a part of the text; `p_holm` is adjusted over the parts of its breakdown."""

    p: float | None
    p_holm: float | None


class LossComparison(FileRecord):
    """A's loss minus B's on the same documents, in nats per token, and in every part of the text.

    `seen_documents`: how many of them stand in each side's training text (None: not known); `unseen_difference_nats`
    is without those, None where there are none or nothing is left.

    Models of different vocabularies are compared in bits per byte: `verdict` and its p are those of
    `difference_bits_per_byte` (None where the tokens are the same) and of the margin in that unit, by the tokens per
    byte of both; `difference_nats` is per token of the mean of both counts then; there are no deciles and positions.
    """

    a: str
    b: str
    data: str
    margin_nats: float
    verdict: EquivalenceVerdict
    p_equivalence: float | None
    p_difference: float | None
    difference_nats: ClusteredMean
    difference_bits_per_byte: ClusteredMean | None = None
    margin_bits_per_byte: float | None = None
    seen_documents: dict[str, int | None]
    unseen_difference_nats: ClusteredMean | None
    documents_where_a_is_better: float
    calibration_error: dict[str, float]
    domains: list[PartDifference]
    frequency_deciles: list[PartDifference]
    positions: list[PartDifference]


class OverallComparison(FileRecord):
    """A's loss minus B's over several test sets, each of which weighs alike (`difference_nats`, its documents all).

    equivalent: on every test set (each at 5 %, so that no correction is due: an intersection-union test, Berger 1982);
    different: on one of them at least, by Holm's p over the sets. `verdicts` are those of each set, by its data.
    """

    a: str
    b: str
    margin_nats: float
    verdict: EquivalenceVerdict
    p_equivalence: float | None
    p_difference: float | None
    difference_nats: ClusteredMean
    verdicts: dict[str, EquivalenceVerdict]


def over_all(comparisons: Sequence[LossComparison]) -> OverallComparison:
    """One pair's comparisons on several test sets, taken together."""
    first, differences = comparisons[0], [one.difference_nats for one in comparisons]
    equal = [one.p_equivalence for one in comparisons]
    p_equivalence = None if None in equal else max(p for p in equal if p is not None)
    p_holm = holm([one.p_difference for one in comparisons])
    differs = [p for one, p in zip(comparisons, p_holm, strict=True) if one.verdict != "equivalent" and p is not None]
    verdict: EquivalenceVerdict = "undetermined"
    if all(one.verdict == "equivalent" for one in comparisons):
        verdict = "equivalent"
    elif min(differs, default=1.0) < 1 - LEVEL:
        verdict = "different"
    return OverallComparison(
        a=first.a,
        b=first.b,
        margin_nats=first.margin_nats,
        verdict=verdict,
        p_equivalence=p_equivalence,
        p_difference=min((p for p in p_holm if p is not None), default=None),
        difference_nats=mean_over_sets(differences),
        verdicts={one.data: one.verdict for one in comparisons},
    )


def mean_over_sets(means: Sequence[ClusteredMean], level: float = LEVEL) -> ClusteredMean:
    """The mean of independent means, each of which weighs alike; Student's t on the fewest documents less one."""
    count, documents = len(means), sum(mean.documents for mean in means)
    value = sum(mean.value for mean in means) / count
    errors = [mean.se for mean in means]
    if None in errors:
        return ClusteredMean(value=value, documents=documents)
    se = math.hypot(*(error for error in errors if error is not None)) / count
    low, high = student_interval(value, se, min(mean.documents for mean in means) - 1, level)
    return ClusteredMean(value=value, se=se, low=low, high=high, documents=documents)


def summary(
    checkpoint: EvaluatedCheckpoint, data: EvaluatedData, method: EvaluationMethod, arrays: Mapping[str, Array]
) -> EvaluationRecord:
    """The record of an evaluation: every mean of its sums by document, with intervals, and the calibration.

    Raises: InputError for documents of no bytes.
    """
    if not arrays["bytes"].sum() > 0:
        raise InputError("the documents that are scored have no bytes, by their index", "make the data again")
    tokens, confidence, correct = (arrays[key].sum(0) for key in CONFIDENCE)
    loss = mean_over_tokens(arrays["nats"], arrays["tokens"])
    bins = [
        CalibrationBin(start=k / CONFIDENCE_BINS, tokens=n, confidence=confidence[k] / n, accuracy=correct[k] / n)
        for k, n in enumerate(tokens.tolist())
        if n
    ]
    parts = breakdowns(data.domains, arrays)
    return EvaluationRecord(
        checkpoint=checkpoint,
        data=data,
        method=method,
        loss_nats=loss,
        perplexity=float(np.exp(min(loss.value, 700.0))),
        bits_per_byte=mean_over_tokens(arrays["nats"] / np.log(2.0), arrays["bytes"].astype(float)),
        accuracy=mean_over_tokens(arrays["correct"], arrays["tokens"]),
        calibration=Calibration(expected_calibration_error=calibration_error(arrays), bins=bins),
        domains=means(*parts["domains"]),
        frequency_deciles=means(*parts["frequency_deciles"]),
        positions=means(*parts["positions"]),
        provenance=provenance(),
    )


def compare(a: Evaluation, b: Evaluation, margin_nats: float = MARGIN_NATS) -> LossComparison:
    """The paired difference A - B on the same documents: equivalence overall, and every breakdown with Holm's p.

    Raises: InputError when the two were not evaluated on the same documents in the same way.
    """
    alike = _check_comparable(a, b)
    sums, unseen = a.arrays["nats"] - b.arrays["nats"], ~(a.seen | b.seen)
    tokens = (a.arrays["tokens"] + b.arrays["tokens"]) / 2
    text_bytes = a.arrays["bytes"].astype(float)
    margin_bits = margin_nats * float(tokens.sum() / text_bytes.sum()) / math.log(2.0)
    if alike:
        test, bits = equivalence_test(sums, tokens, margin_nats), None
    else:
        test = equivalence_test(sums / math.log(2.0), text_bytes, margin_bits)
        bits = test.difference
    parts, others = breakdowns(a.record.data.domains, a.arrays), breakdowns(b.record.data.domains, b.arrays)
    domains, deciles, positions = (
        _differences(labels, (weights + others[part][1]) / 2, nats - others[part][2])
        if alike or part == "domains"
        else []
        for part, (labels, weights, nats) in parts.items()
    )
    return LossComparison(
        a=a.name,
        b=b.name,
        data=a.record.data.path,
        margin_nats=margin_nats,
        verdict=test.verdict,
        p_equivalence=test.p_equivalence,
        p_difference=test.p_difference,
        difference_nats=test.difference if bits is None else mean_over_tokens(sums, tokens),
        difference_bits_per_byte=bits,
        margin_bits_per_byte=None if alike else margin_bits,
        seen_documents={"a": a.record.checkpoint.seen_documents, "b": b.record.checkpoint.seen_documents},
        unseen_difference_nats=mean_over_tokens(sums[unseen], tokens[unseen])
        if 0 < unseen.sum() < len(unseen)
        else None,
        documents_where_a_is_better=float((a.arrays["nats"] < b.arrays["nats"]).mean()),
        calibration_error={"a": calibration_error(a.arrays), "b": calibration_error(b.arrays)},
        domains=domains,
        frequency_deciles=deciles,
        positions=positions,
    )


def _check_comparable(a: Evaluation, b: Evaluation) -> bool:
    """Whether both read the text in the same tokens; what is counted in tokens need not be alike where they did not."""
    alike = a.record.checkpoint.tokenizer_sha256 == b.record.checkpoint.tokenizer_sha256

    def asked(record: EvaluationRecord) -> dict[str, str | int]:
        fields = {"context_tokens", "stride_tokens", "precision"} if alike else {"precision"}
        method = record.method.model_dump(include=fields)
        return {"data": record.data.sha256, "split": record.data.split, **method}

    left, right = asked(a.record), asked(b.record)
    for key in left:
        if left[key] != right[key]:
            raise InputError(
                f"{a.name} and {b.name} were evaluated with another {key} ({left[key]!s:.12} and {right[key]!s:.12})",
                f"evaluate both in one `{commands.pretrain_eval([x.record.checkpoint.path for x in (a, b)])}`",
            )
    if not np.array_equal(a.arrays["index"], b.arrays["index"]):
        raise InputError(f"{a.name} and {b.name} were evaluated on other documents", "evaluate both in one command")
    return alike


def means(labels: Sequence[str], weights: Array, sums: Array) -> list[PartMean]:
    """The mean with its interval of each part that has tokens; weights, sums (D, K)."""
    rows: list[PartMean] = []
    for k, label in enumerate(labels):
        has = weights[:, k] > 0
        if has.any():
            mean = mean_over_tokens(sums[has, k], weights[has, k])
            rows.append(PartMean(name=label, tokens=int(weights[:, k].sum()), **mean.model_dump()))
    return rows


def _differences(labels: Sequence[str], weights: Array, sums: Array) -> list[PartDifference]:
    rows = means(labels, weights, sums)
    p_values = [two_sided_p(row) for row in rows]
    return [
        PartDifference(**row.model_dump(), p=p, p_holm=adjusted)
        for row, p, adjusted in zip(rows, p_values, holm(p_values), strict=True)
    ]


def calibration_error(arrays: Mapping[str, Array]) -> float:
    """Expected calibration error of the first guess, 15 equal-width bins (Guo et al. 2017, equation 3)."""
    tokens, confidence, correct = (arrays[name].sum(0) for name in CONFIDENCE)  # each (15,)
    return float(np.abs(correct - confidence).sum() / tokens.sum())
