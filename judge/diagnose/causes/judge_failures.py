"""Failures: did the judge give one side's answers no score more often, and not at random?"""

from __future__ import annotations

import numpy as np

from equiloss.numerals import p_equals, percent, significant
from equiloss.records.diagnosis import Cause, Evidence
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.gap import Gap
from judge.diagnose import next_steps
from judge.diagnose.case import Case
from judge.diagnose.naming import ALPHA, of_adjustment

CAUSE = "judge-failures"


def test(case: Case, gap: Gap) -> tuple[list[Evidence], Cause | None]:
    """Answers without a score: as many on both sides, and would their scores change the gap?"""
    missing = [np.isnan(one) for one in (gap.a, gap.b)]
    rates = [float(one.mean()) for one in missing]
    if not any(rates):
        return [Evidence(name="failures", says="Every answer has a score.", bearing="against", a=0.0, b=0.0)], None
    from scipy import stats

    table = np.array([[int(one.sum()), int((~one).sum())] for one in missing])
    p = float(stats.fisher_exact(table)[1])
    says = (
        f"Without a score: {percent(rates[0])} of A's answers and {percent(rates[1])} of B's "
        f"(Fisher's exact test: p {p_equals(p)})."
    )
    differ = p < ALPHA
    suspect = Cause(
        id=CAUSE,
        level=2,
        title="the judge's failures are not missing at random",
        status="possible",
        grade="suspected",
        says="The judge failed more often on one model's answers; what scores they would have is not known.",
        evidence_for=(says,),
        open=True,
        command=next_steps.rescore(case, retry_failures=True),
    )
    reference = case.reference
    if reference is None or not case.reference_predicts:
        bearing = "for" if differ else "neutral"
        evidence = Evidence(name="failures", says=says, bearing=bearing, a=rates[0], b=rates[1])
        return [evidence], suspect if differ else None
    for side, q, m in (("A", reference.a, missing[0]), ("B", reference.b, missing[1])):
        if m.any() and not m.all():
            lost, kept = float(np.nanmean(q[m])), float(np.nanmean(q[~m]))
            says += f" {side}'s unscored answers agree with the reference at {significant(lost)}"
            says += f", its scored ones at {significant(kept)}."
    evidence = [Evidence(name="failures", says=says, bearing="for" if differ else "against", a=rates[0], b=rates[1])]
    if not differ:
        return evidence, None
    line = _line(np.concatenate([reference.a, reference.b]), np.concatenate([gap.a, gap.b]))
    if line is None:
        return evidence, suspect
    slope, start = line
    # What the failures make: the gap over the items that both sides have scores for, minus the one with all filled in.
    scored = ~np.isnan(gap.paired)
    weight = np.where(scored, len(scored) / max(1, scored.sum()), 0.0)  # (I,)
    made = [
        np.nan_to_num(filled) * weight - np.nan_to_num(np.where(m & ~np.isnan(q), start + slope * q, values))
        for filled, values, q, m in zip(gap.filled, (gap.a, gap.b), (reference.a, reference.b), missing, strict=True)
    ]
    return evidence, suspect.model_copy(
        update={
            "grade": "adjusted",
            "points": of_adjustment(
                gap, made[0], made[1], "failed verdicts predicted from agreement with the reference"
            ),
            "says": "The judge failed more often on one model's answers, and not on answers like the others.",
            "evidence_for": (says,),
            "open": False,
        }
    )


def _line(agreements: Floats, scores: Floats) -> tuple[float, float] | None:
    """Slope and start of the scores' line over agreement with the reference, both sides together; None for too few."""
    known = ~np.isnan(agreements) & ~np.isnan(scores)
    if known.sum() < 10 or np.ptp(agreements[known]) == 0:
        return None
    slope, start = np.polyfit(agreements[known], scores[known], 1)
    return float(slope), float(start)
