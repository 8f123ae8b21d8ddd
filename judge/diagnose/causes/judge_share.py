"""What of a gap the judge itself makes, seen by equal answers, and by what agreement with the reference leaves open.

Agreement with the reference says something about a judge only where it predicts the judge's scores on these items
(Spearman's correlation within runs at least 0.5); elsewhere it can neither clear nor blame it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import Cause, Evidence
from equiloss.statistics.estimate import Estimate, student
from equiloss.statistics.gap import Gap
from equiloss.statistics.missing import present_mean
from equiloss.statistics.regression import regress, standard_error
from judge.diagnose.case import Case
from judge.diagnose.causes.presentation import Place, panel_of, places_of
from judge.diagnose.naming import ACCOUNTS, ALPHA


@dataclass(frozen=True)
class OwnShare:
    """The points that the judge itself makes of a gap, where they can be seen.

    `equal`: the mean score difference, A minus B, of equal answers. `left`: what the reference, where it predicts the
    judge, does not predict of the gap; it could be the judge's, or a quality that the reference does not see.
    """

    equal: Estimate | None = None
    left: Estimate | None = None

    def cause(self, gap: Gap, id: str, title: str, says: str, command: str, source: str = "") -> Cause:
        """An artefact that cannot be adjusted for, with the judge's own points.

        Excluded where equal answers show that any such effect is less than half of the gap.
        """
        differs = self.equal is not None and self.equal.p is not None and self.equal.p < ALPHA
        points = self.equal if differs else self.left if self.equal is None else None
        bounds = self.equal.interval if self.equal and self.equal.low is not None else None
        fair = bounds is not None and max(map(abs, bounds)) < ACCOUNTS * abs(gap.value)
        return Cause(
            id=id,
            level=2,
            title=title,
            status="excluded" if fair else "possible",
            grade="adjusted" if points is not None else "suspected",
            points=points,
            indirect=not differs,
            open=points is None and not fair,
            says=says,
            evidence_for=(says,),
            source=source,
            command=command,
        )


def own_share(case: Case, gap: Gap) -> tuple[list[Evidence], OwnShare]:
    """The evidence on what the judge itself makes of the gap: from equal answers, else what the reference leaves."""
    evidence, left = reference_score(case, gap)
    equal, of_equal = equal_answers(case, gap)
    return [*evidence, *of_equal], OwnShare(equal, left)


def reference_score(case: Case, gap: Gap) -> tuple[list[Evidence], Estimate | None]:
    """The gap in agreement with the reference, and the points of the judge's gap that it does not predict."""
    reference, rho = case.reference, case.reference_correlation
    if reference is None:
        says = "The items have no reference answers: the judge cannot be checked against them."
        return [Evidence(name="reference score", says=says)], None
    estimate, sighted = reference.estimate, case.reference_predicts
    evidence = [
        Evidence(
            name="reference score",
            says=f"In agreement with the reference (0 to 1, by formula) A minus B is {estimated(estimate)}.",
            bearing="against" if sighted and estimate.excludes(0) and estimate.value * gap.value > 0 else "neutral",
            value=estimate,
        )
    ]
    if rho is not None:
        says = f"Within a model, the judge's scores correlate with agreement with the reference at {significant(rho)}"
        says += "." if sighted else ": too little for the reference to clear or blame this judge here."
        correlation = Estimate(value=rho, unit="Spearman correlation")
        evidence.append(Evidence(name="agreement with the reference score", says=says, value=correlation))
    if not sighted:
        return evidence, None
    d, q = gap.paired, present_mean(reference.a) - present_mean(reference.b)
    known = ~np.isnan(d) & ~np.isnan(q)
    fit = regress(d[known], [q[known]] if known.any() and float(np.ptp(q[known])) > 0 else [])
    return evidence, None if fit is None else fit.estimate(0, gap.unit, "what the reference does not predict")


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
    estimate = student(float(d.mean()), standard_error(d) or 0.0, len(d) - 1, unit=gap.unit, method="equal answers")
    differs = estimate.p is not None and estimate.p < ALPHA
    says = (
        f"On the {len(d)} items where A and B gave the same answer, the judge scores A minus B {estimated(estimate)}"
        + (": equal answers are not scored equally." if differs else ".")
    )
    bearing = "for" if differs and estimate.value * gap.value > 0 else "against" if not differs else "neutral"
    return estimate, [Evidence(name="equal answers", says=says, bearing=bearing, value=estimate)]
