"""Position: does the judge favour a place, and did A and B stand in it equally often?"""

from __future__ import annotations

import numpy as np

from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import Cause, Evidence
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.gap import Draw, Gap
from equiloss.statistics.missing import present_mean
from equiloss.statistics.regression import regress
from judge.diagnose import next_steps
from judge.diagnose.case import Case
from judge.diagnose.causes.judge_share import unless_fair
from judge.diagnose.causes.presentation import panel_of, shown_of, shown_once
from judge.diagnose.naming import ALPHA, explains

SOURCE = "Shi et al., arXiv 2406.07791 (position bias of LLM judges)"


def _places(case: Case) -> tuple[Floats, Floats]:
    """Where A and B stood on average, from 0 (first) to 1 (last): (I, R) each; NaN where not shown together."""
    index = {one: i for i, one in enumerate(case.ids)}
    repeats = case.scores.values.shape[2] if case.scores else 1
    totals = [np.full((len(case.ids), repeats), np.nan) for _ in case.arms]
    counts = [np.zeros((len(case.ids), repeats)) for _ in case.arms]
    shown = [shown_of(arm, panel_of(case)).verdicts for arm in case.arms]
    numbers = sorted({v.repeat for verdicts in shown for v in verdicts})
    row = {number: i for i, number in enumerate(numbers)}
    for side, verdicts in enumerate(shown):
        for v in verdicts:
            if len(v.group) > 1 and v.id in index:
                where = (index[v.id], row[v.repeat])
                total = 0.0 if np.isnan(totals[side][where]) else totals[side][where]
                totals[side][where] = total + v.position / (len(v.group) - 1)
                counts[side][where] += 1
    first, second = (t / np.maximum(c, 1) for t, c in zip(totals, counts, strict=True))
    return first, second


def test(case: Case, gap: Gap, equal: Estimate | None, made: Estimate | None) -> tuple[list[Evidence], Cause | None]:
    """The effect of standing last instead of first, and the gap that is left at equal places."""
    first, second = _places(case)
    distance = first - second  # (I, R): negative where A stood before B
    distance[shown_once(case)] = np.nan
    if np.isnan(distance).all():
        return [Evidence(name="position", says="A and B were not shown in one prompt: no position effect.")], None
    values = case.scores.values if case.scores else np.empty((0, 0, 0))
    split = len(case.a.runs)
    d = present_mean(values[:split]) - present_mean(values[split:])  # (I, R)
    mean_place = present_mean(distance.T)  # (I,)
    there = ~np.isnan(distance) & ~np.isnan(d)
    balance = float(np.nanmean(distance))
    varies = float(np.nanstd(distance)) > 1e-9
    if not varies and balance != 0:
        who = "A" if balance < 0 else "B"
        says = f"{who} was shown before the other in every prompt: position and model cannot be told apart."
        share = made
        supported = explains(share)
        return [Evidence(name="position", says=says, bearing="for", source=SOURCE)], Cause(
            id="judge-position",
            level=2,
            title="the judge favours a position",
            status="supported" if supported else unless_fair(gap, equal),
            share=share,
            share_method=share.method if share else "",
            says=says + (" And the gap is not in the answers themselves." if supported else ""),
            evidence_for=(says,),
            source=SOURCE,
            command=next_steps.rescore(case, repeats=2),
        )
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

    def at_equal_place(a: Floats, b: Floats, draw: Draw) -> float:
        x, y = mean_place[draw.items], present_mean(a) - present_mean(b)
        both = ~np.isnan(x) & ~np.isnan(y)
        return float(np.mean(y[both] - effect.value * x[both])) if both.sum() > 4 else float("nan")

    share = gap.share(at_equal_place, "adjusted for position by regression")
    return evidence, Cause(
        id="judge-position",
        level=2,
        title="the judge favours a position",
        status="supported",
        share=share,
        share_method="adjusted for position by regression",
        says=f"The judge favours the {'last' if effect.value > 0 else 'first'} place, and orders were not balanced.",
        evidence_for=(evidence[0].says,),
        source=SOURCE,
        command=next_steps.rescore(case, repeats=2),
    )
