"""Length: does the judge give longer answers more, at equal agreement with the reference?

Asked of items whose answers all ended by themselves: one that ran to the token limit is as long as the limit lets it
be, and what the judge makes of it is said at level 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    ended = known & ~_at_the_limit(case)
    fit = regress(d[ended], [one[ended] for one in columns])
    if fit is None:
        limited, of = int((known & ~ended).sum()), int(known.sum())
        says = (
            f"On {limited} of {of} items an answer ran to the token limit; too few are left to tell what the judge "
            "makes of length."
            if limited
            else "Length and agreement cannot be told apart on these items."
        )
        return [Evidence(name="length", says=says)], None
    effect = fit.estimate(1, gap.unit)
    used = np.where(ended, x, 0.0)[known]  # the others count nothing
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


def _at_the_limit(case: Case) -> NDArray[np.bool_]:
    """Items on which an answer of either side ended at the token limit (I,)."""
    runs = [run.responses for arm in case.arms for run in arm.runs]
    reasons = [[run[id].finish_reason if id in run else None for run in runs] for id in case.ids]
    return np.array(["length" in row for row in reasons], dtype=np.bool_)
