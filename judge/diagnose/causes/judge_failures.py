"""Failures: did the judge give one side's answers no score more often, and not at random?"""

from __future__ import annotations

import numpy as np
from scipy import stats

from equiloss.numerals import p_equals, percent, significant
from equiloss.records.diagnosis import Cause, Evidence
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.gap import Draw, Gap, mean_difference
from judge.diagnose import next_steps
from judge.diagnose.case import Case
from judge.diagnose.naming import ALPHA


def test(case: Case, gap: Gap) -> tuple[list[Evidence], Cause | None]:
    """Answers without a score: as many on both sides, and would their scores change the gap?"""
    missing = [np.isnan(one) for one in (gap.a, gap.b)]
    rates = [float(one.mean()) for one in missing]
    if not any(rates):
        return [Evidence(name="failures", says="Every answer has a score.", bearing="against", a=0.0, b=0.0)], None
    table = np.array([[int(one.sum()), int((~one).sum())] for one in missing])
    p = float(stats.fisher_exact(table)[1])
    says = (
        f"Without a score: {percent(rates[0])} of A's answers and {percent(rates[1])} of B's "
        f"(Fisher's exact test: p {p_equals(p)})."
    )
    reference = case.reference
    if reference is None:
        return [Evidence(name="failures", says=says, a=rates[0], b=rates[1])], None

    def imputed(_a: Floats, _b: Floats, draw: Draw) -> float:
        """The gap with missing scores predicted from agreement with the reference, one line for both models."""
        a, b = draw.of_a(gap.a), draw.of_b(gap.b)
        q_a, q_b = draw.of_a(reference.a), draw.of_b(reference.b)
        q, y = np.concatenate([q_a.ravel(), q_b.ravel()]), np.concatenate([a.ravel(), b.ravel()])
        there = ~np.isnan(q) & ~np.isnan(y)
        if there.sum() < 10 or np.ptp(q[there]) == 0:
            return float("nan")
        slope, start = np.polyfit(q[there], y[there], 1)
        full = [np.where(np.isnan(one), start + slope * q, one) for one, q in ((a, q_a), (b, q_b))]
        return mean_difference(full[0], full[1])

    share = gap.share(imputed, "failed verdicts predicted from agreement with the reference")
    for side, q, m in (("A", reference.a, missing[0]), ("B", reference.b, missing[1])):
        if m.any() and not m.all():
            lost, kept = float(np.nanmean(q[m])), float(np.nanmean(q[~m]))
            says += f" {side}'s unscored answers agree with the reference at {significant(lost)}"
            says += f", its scored ones at {significant(kept)}."
    evidence = [Evidence(name="failures", says=says, bearing="for" if p < ALPHA else "against", a=rates[0], b=rates[1])]
    if p >= ALPHA or share is None:
        return evidence, None
    return evidence, Cause(
        id="judge-failures",
        level=2,
        title="the judge's failures are not missing at random",
        status="supported",
        share=share,
        share_method=share.method,
        says="The judge failed more often on one model's answers, and not on answers like the others.",
        evidence_for=(says,),
        command=next_steps.rescore(case, retry_failures=True),
    )
