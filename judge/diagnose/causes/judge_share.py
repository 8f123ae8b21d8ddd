"""What the judge's own share of a gap is seen by: equal answers, and what agreement with the reference predicts."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import CauseStatus, Evidence
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate, student
from equiloss.statistics.gap import Draw, Gap
from equiloss.statistics.missing import present_mean
from equiloss.statistics.regression import standard_error
from judge.diagnose.case import Case
from judge.diagnose.causes.presentation import Place, panel_of, places_of
from judge.diagnose.naming import ACCOUNTS, ALPHA, UNPREDICTED


def reference_score(case: Case, gap: Gap) -> tuple[list[Evidence], Estimate | None]:
    """The gap in agreement with the reference, and the share of the judge's gap that it does not predict."""
    reference = case.reference
    if reference is None:
        says = "The items have no reference answers: the judge cannot be checked against them."
        return [Evidence(name="reference score", says=says)], None
    estimate = reference.estimate
    evidence = [
        Evidence(
            name="reference score",
            says=f"In agreement with the reference (0 to 1, by formula) A minus B is {estimated(estimate)}.",
            bearing="against" if estimate.excludes(0) and estimate.value * gap.value > 0 else "neutral",
            value=estimate,
        )
    ]
    values = np.concatenate([gap.a.ravel(), gap.b.ravel()])
    agreements = np.concatenate([reference.a.ravel(), reference.b.ravel()])
    there = ~np.isnan(values) & ~np.isnan(agreements)
    if there.sum() > 3 and np.ptp(values[there]) > 0 and np.ptp(agreements[there]) > 0:
        rho = float(stats.spearmanr(values[there], agreements[there]).statistic)
        evidence.append(
            Evidence(
                name="agreement with the reference score",
                says=f"The judge's scores correlate with the reference score at {significant(rho)} (Spearman).",
                value=Estimate(value=rho, unit="Spearman correlation"),
            )
        )

    def unpredicted(a: Floats, b: Floats, draw: Draw) -> float:
        """The gap that is left at equal agreement: the intercept of d on the difference in agreement."""
        d = present_mean(a) - present_mean(b)
        q = present_mean(draw.of_a(reference.a)) - present_mean(draw.of_b(reference.b))
        both = ~np.isnan(d) & ~np.isnan(q)
        d, q = d[both], q[both]
        if len(d) < 5:
            return float("nan")
        spread = float(q.var())
        slope = float(((q - q.mean()) * (d - d.mean())).mean()) / spread if spread > 0 else 0.0
        return float(d.mean() - max(0.0, slope) * q.mean())

    predicted = gap.share(unpredicted, UNPREDICTED)
    return evidence, None if predicted is None else _complement(predicted)


def _complement(share: Estimate) -> Estimate:
    low = None if share.high is None else 1 - share.high
    high = None if share.low is None else 1 - share.low
    return share.model_copy(update={"value": 1 - share.value, "low": low, "high": high})


def equal_answers(case: Case, gap: Gap) -> tuple[Estimate | None, list[Evidence]]:
    """The mean score difference, A minus B, where their answers are the same text: any is the judge's doing.

    Equal answers that were shown once, for both, have one score between them, and say nothing.
    """
    differences: list[float] = []
    at_a, at_b = (places_of(arm, panel_of(case)) for arm in case.arms)
    nowhere: set[Place] = set()
    for index, one in enumerate(case.ids):
        pairs = [
            float(gap.a[i, index] - gap.b[j, index])
            for i, of_a in enumerate(case.outputs_a)
            for j, of_b in enumerate(case.outputs_b)
            if of_a[index] is not None
            and of_a[index] == of_b[index]
            and not at_a[i].get(one, nowhere) & at_b[j].get(one, nowhere)
        ]
        known = [one for one in pairs if not math.isnan(one)]
        if known:
            differences.append(sum(known) / len(known))
    if len(differences) < 5:
        return None, []
    d = np.array(differences, dtype=np.float64)
    estimate = student(float(d.mean()), standard_error(d) or 0.0, len(d) - 1, unit=gap.unit, method="t")
    differs = estimate.p is not None and estimate.p < ALPHA
    says = (
        f"On the {len(d)} items where A and B gave the same answer, the judge scores A minus B {estimated(estimate)}"
        + (": equal answers are not scored equally." if differs else ".")
    )
    bearing = "for" if differs and estimate.value * gap.value > 0 else "against" if not differs else "neutral"
    return estimate, [Evidence(name="equal answers", says=says, bearing=bearing, value=estimate)]


def judge_made(gap: Gap, equal: Estimate | None, reference_share: Estimate | None) -> Estimate | None:
    """The share of the gap that the judge itself makes: from equal answers, else what the reference cannot predict."""
    if equal is not None and gap.value and equal.p is not None and equal.p < ALPHA:
        low, high = sorted(((equal.low or 0.0) / gap.value, (equal.high or 0.0) / gap.value))
        return Estimate(value=equal.value / gap.value, low=low, high=high, unit="share", method="equal answers")
    if equal is not None:
        return None
    return reference_share if reference_share and reference_share.low and reference_share.low > ACCOUNTS else None


def unless_fair(gap: Gap, equal: Estimate | None) -> CauseStatus:
    """`excluded` where equal answers show that such an effect is less than half the gap, else `possible`."""
    if equal is None or equal.low is None or equal.high is None:
        return "possible"
    return "excluded" if max(abs(equal.low), abs(equal.high)) < ACCOUNTS * abs(gap.value) else "possible"
