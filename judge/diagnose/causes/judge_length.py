"""Length: does the judge give longer answers more, at equal agreement with the reference?"""

from __future__ import annotations

import numpy as np

from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import Cause, Evidence
from equiloss.statistics.gap import Gap
from equiloss.statistics.missing import present_mean
from equiloss.statistics.regression import regress
from judge.diagnose import next_steps
from judge.diagnose.answer_faults import count_words
from judge.diagnose.case import Case
from judge.diagnose.naming import ALPHA, of_regression

SOURCE = "Dubois et al., arXiv 2404.04475 (length-controlled comparison by regression)"


def test(case: Case, gap: Gap) -> tuple[list[Evidence], Cause | None]:
    """Longer answers, more points, at equal agreement with the reference."""
    a, b = (
        np.array([[float("nan") if one is None else float(count_words(one)) for one in row] for row in rows])
        for rows in case.outputs
    )
    x = present_mean(np.log2(a + 1)) - present_mean(np.log2(b + 1))  # (I,) doublings of length
    if np.isnan(x).all() or np.nanstd(x) == 0:
        return [Evidence(name="length", says="A's and B's answers differ by the same length everywhere.")], None
    reference = case.reference
    q = None if reference is None else present_mean(reference.a) - present_mean(reference.b)
    vary = q is not None and float(np.nanstd(q)) > 0
    d = gap.paired
    columns = [x, *([q] if q is not None and vary else [])]
    known = ~np.isnan(d) & np.all([~np.isnan(one) for one in columns], axis=0)
    fit, used = regress(d[known], [one[known] for one in columns]), x[known]
    if fit is None:
        return [Evidence(name="length", says="Length and agreement cannot be told apart on these items.")], None
    effect = fit.estimate(1, gap.unit)
    at_mean = effect.value * float(used.mean())
    moves = abs(at_mean) > 1e-6 * abs(gap.value)  # less is rounding, where the reference predicts each score
    favours = moves and effect.p is not None and effect.p < ALPHA and effect.value > 0
    evidence = [
        Evidence(
            name="length",
            says=f"A's answers have {significant(float(np.nanmean(a)))} words, "
            f"B's {significant(float(np.nanmean(b)))}; "
            f"{'at equal agreement with the reference, ' if q is not None else ''}doubling an answer's length "
            f"changes the score by {estimated(effect)}.",
            bearing="for" if favours and at_mean * gap.value > 0 else "against",
            value=effect,
            a=float(np.nanmean(a)),
            b=float(np.nanmean(b)),
            source=SOURCE,
        )
    ]
    if not favours:
        return evidence, None

    counts = case.reference_predicts
    return evidence, Cause(
        id="judge-length",
        level=2,
        title="the judge favours length",
        status="possible",
        grade="adjusted" if counts else "suspected",
        points=of_regression(fit, used, gap.unit) if counts else None,
        open=not counts,
        says="The judge gives longer answers more"
        + (" at equal agreement with the reference." if q is not None else "."),
        evidence_for=(evidence[0].says,),
        source=SOURCE,
        command=next_steps.rescore(case, rubric="correctness"),
    )
