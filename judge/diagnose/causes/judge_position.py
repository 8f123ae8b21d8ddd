"""Position: does the judge favour a place, and did A and B stand in it equally often?"""

from __future__ import annotations

import numpy as np

from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import Cause, Evidence
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.gap import Gap
from equiloss.statistics.missing import present_mean
from equiloss.statistics.regression import regress
from judge.data.scores import Scores
from judge.diagnose import next_steps
from judge.diagnose.case import Case
from judge.diagnose.causes.judge_share import OwnShare
from judge.diagnose.causes.presentation import shown_once, verdicts_of
from judge.diagnose.naming import ALPHA, of_regression

CAUSE = "judge-position"
TITLE = "the judge favours a position"
SOURCE = "Shi et al., arXiv 2406.07791 (position bias of LLM judges)"


def _places(case: Case, scores: Scores) -> tuple[Floats, Floats]:
    """Where A and B stood on average, from 0 (first) to 1 (last): (I, R) each; NaN where not shown together."""
    row = {id: index for index, id in enumerate(case.ids)}
    verdicts = [verdicts_of(case, arm) for arm in case.arms]
    repeats = sorted({verdict.repeat for of_arm in verdicts for verdict in of_arm})
    totals, counts = np.zeros((2, 2, len(row), scores.values.shape[2]))
    for side, of_arm in enumerate(verdicts):
        for verdict in of_arm:
            if len(verdict.group) > 1 and verdict.id in row:
                where = (side, row[verdict.id], repeats.index(verdict.repeat))
                totals[where] += verdict.position / (len(verdict.group) - 1)
                counts[where] += 1
    first, second = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
    return first, second


def test(case: Case, gap: Gap, own: OwnShare) -> tuple[list[Evidence], Cause | None]:
    """The effect of standing last instead of first, and the gap that is left at equal places."""
    if case.scores is None:
        return [], None
    first, second = _places(case, case.scores)
    distance = first - second  # (I, R): negative where A stood before B
    distance[shown_once(case)] = np.nan
    if np.isnan(distance).all():
        return [Evidence(name="position", says="A and B were not shown in one prompt: no position effect.")], None
    values, split = case.scores.values, len(case.a.runs)
    d = present_mean(values[:split]) - present_mean(values[split:])  # (I, R)
    there = ~np.isnan(distance) & ~np.isnan(d)
    balance = float(np.nanmean(distance))
    command = next_steps.rescore(case, repeats=2)
    if float(np.nanstd(distance)) <= 1e-9 and balance != 0:
        who = "A" if balance < 0 else "B"
        says = f"{who} was shown before the other in every prompt: position and model cannot be told apart."
        cause = own.cause(gap, CAUSE, TITLE, says, command, SOURCE)
        return [Evidence(name="position", says=says, bearing="for", source=SOURCE)], cause
    columns = [distance[there]]
    if case.reference is not None:  # which answer is better must not pass for where it stood
        q = np.broadcast_to((present_mean(case.reference.a) - present_mean(case.reference.b))[:, None], d.shape)
        there &= ~np.isnan(q)
        columns = [distance[there], *([q[there]] if there.any() and float(np.ptp(q[there])) > 0 else [])]
    fit = regress(d[there], columns)
    if fit is None:
        return [Evidence(name="position", says="Each item was judged in both orders: position cancels.")], None
    effect = fit.estimate(1, gap.unit)
    differs = effect.p is not None and effect.p < ALPHA
    evidence = [
        Evidence(
            name="position",
            says=f"Standing last instead of first changes the score by {estimated(effect)}; on average A stood "
            f"{significant(abs(balance))} of the way {'before' if balance < 0 else 'behind'} B.",
            bearing="for" if differs and effect.value * balance * gap.value > 0 else "against",
            value=effect,
            source=SOURCE,
        )
    ]
    if not differs:
        return evidence, None

    return evidence, Cause(
        id=CAUSE,
        level=2,
        title=TITLE,
        status="possible",
        grade="adjusted",
        points=of_regression(fit, distance[there], gap.unit),
        says=f"The judge favours the {'last' if effect.value > 0 else 'first'} place, and orders were not balanced.",
        evidence_for=(evidence[0].says,),
        source=SOURCE,
        command=command,
    )
