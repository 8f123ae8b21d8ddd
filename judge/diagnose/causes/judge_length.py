"""Length: does the judge give longer answers more, at equal agreement with the reference?"""

from __future__ import annotations

import numpy as np

from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import Cause, Evidence
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.gap import Draw, Gap, mean_difference
from equiloss.statistics.missing import present_mean
from equiloss.statistics.regression import Regression, regress
from judge.diagnose import next_steps
from judge.diagnose.answer_faults import count_words
from judge.diagnose.case import Case
from judge.diagnose.naming import ALPHA

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
    doublings = (np.log2(a + 1), np.log2(b + 1))

    def fitted(a: Floats, b: Floats, draw: Draw) -> tuple[Regression | None, Floats]:
        d = present_mean(a) - present_mean(b)
        x = present_mean(draw.of_a(doublings[0])) - present_mean(draw.of_b(doublings[1]))
        columns = [x]
        if reference is not None and vary:
            columns.append(present_mean(draw.of_a(reference.a)) - present_mean(draw.of_b(reference.b)))
        both = ~np.isnan(d) & np.all([~np.isnan(one) for one in columns], axis=0)
        return regress(d[both], [one[both] for one in columns]), x[both]

    fit, used = fitted(gap.a, gap.b, gap.all)
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
    if not favours or at_mean * gap.value <= 0:
        return evidence, None

    def at_equal_length(a: Floats, b: Floats, draw: Draw) -> float:
        again, x_used = fitted(a, b, draw)
        if again is None:
            return float("nan")
        return mean_difference(a, b) - float(again.coefficients[1]) * float(x_used.mean())

    share = gap.share(at_equal_length, "adjusted for length by regression")
    return evidence, Cause(
        id="judge-length",
        level=2,
        title="the judge favours length",
        status="supported" if q is not None else "possible",
        share=share,
        share_method="adjusted for length by regression",
        says="The judge gives longer answers more"
        + (" at equal agreement with the reference." if q is not None else "."),
        evidence_for=(evidence[0].says,),
        source=SOURCE,
        command=next_steps.rescore(case, rubric="correctness"),
    )
