"""What the judge's own share of a gap is seen by: equal answers, and what agreement with the reference predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import Basis, Cause, Evidence
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate, student
from equiloss.statistics.gap import Draw, Gap, mean_difference
from equiloss.statistics.missing import present_mean
from equiloss.statistics.regression import standard_error
from judge.diagnose.case import Case
from judge.diagnose.causes.presentation import Place, panel_of, places_of
from judge.diagnose.naming import ACCOUNTS, ALPHA, explains


@dataclass(frozen=True)
class OwnShare:
    """What the judge itself makes of a gap, where it can be seen.

    `equal`: the mean score difference, A minus B, of equal answers; `share`: the share of the gap that is the judge's,
    and its `basis`: the remainder that the reference does not predict, where no equal answers could be had.
    """

    equal: Estimate | None = None
    share: Estimate | None = None
    basis: Basis | None = None

    def cause(self, gap: Gap, id: str, title: str, says: str, command: str, source: str = "") -> Cause:
        """An artefact that cannot be adjusted for: supported where the judge itself makes enough of the gap.

        Excluded where equal answers show that any such effect is less than half of the gap.
        """
        supported = explains(self.share)
        bounds = self.equal.interval if self.equal and self.equal.low is not None else None
        fair = bounds is not None and max(map(abs, bounds)) < ACCOUNTS * abs(gap.value)
        return Cause(
            id=id,
            level=2,
            title=title,
            status="supported" if supported else "excluded" if fair else "possible",
            share=self.share,
            share_method=self.share.method if self.share else "",
            basis=self.basis,
            says=says + (" And the gap is not in the answers themselves." if supported else ""),
            evidence_for=(says,),
            source=source,
            command=command,
        )


def own_share(case: Case, gap: Gap) -> tuple[list[Evidence], OwnShare]:
    """The evidence on what the judge itself makes of the gap: from equal answers, else what the reference leaves."""
    evidence, remainder = reference_score(case, gap)
    equal, of_equal = equal_answers(case, gap)
    evidence += of_equal
    if equal is None:
        beyond = remainder is not None and remainder.low is not None and remainder.low > ACCOUNTS
        return evidence, OwnShare(None, remainder, "remainder") if beyond else OwnShare()
    if equal.p is None or equal.p >= ALPHA or not gap.value:
        return evidence, OwnShare(equal)
    low, high = sorted(((equal.low or 0.0) / gap.value, (equal.high or 0.0) / gap.value))
    share = Estimate(value=equal.value / gap.value, low=low, high=high, unit="share", method="equal answers")
    return evidence, OwnShare(equal, share)


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

    def predicted(a: Floats, b: Floats, draw: Draw) -> float:
        """The gap but for what is left at equal agreement: the intercept of d on the difference in agreement."""
        d = present_mean(a) - present_mean(b)
        q = present_mean(draw.of_a(reference.a)) - present_mean(draw.of_b(reference.b))
        both = ~np.isnan(d) & ~np.isnan(q)
        d, q = d[both], q[both]
        if len(d) < 5:
            return float("nan")
        spread = float(q.var())
        slope = float(((q - q.mean()) * (d - d.mean())).mean()) / spread if spread > 0 else 0.0
        return mean_difference(a, b) - float(d.mean() - max(0.0, slope) * q.mean())

    return evidence, gap.share(predicted, "regression of the item's gap on the difference in agreement")


def equal_answers(case: Case, gap: Gap) -> tuple[Estimate | None, list[Evidence]]:
    """The mean score difference, A minus B, where their answers are the same text: any is the judge's doing.

    Equal answers that were shown once, for both, have one score between them, and say nothing.
    """
    differences: list[float] = []
    panel, nowhere = panel_of(case), set[Place]()
    at_a, at_b = ([places_of(run.verdicts_of(panel)) for run in arm.runs] for arm in case.arms)
    outputs_a, outputs_b = case.outputs
    for column, id in enumerate(case.ids):
        pairs = [
            float(gap.a[i, column] - gap.b[j, column])
            for i, of_a in enumerate(outputs_a)
            for j, of_b in enumerate(outputs_b)
            if of_a[column] is not None
            and of_a[column] == of_b[column]
            and not at_a[i].get(id, nowhere) & at_b[j].get(id, nowhere)
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
