"""Drift: were A and B judged in different prompts, or by different versions of the judge?"""

from __future__ import annotations

from equiloss.records.diagnosis import Cause, Evidence
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.gap import Gap
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case
from judge.diagnose.causes.judge_share import unless_fair
from judge.diagnose.causes.presentation import panel_of, shown_of
from judge.diagnose.naming import explains


def test(case: Case, gap: Gap, equal: Estimate | None, made: Estimate | None) -> tuple[list[Evidence], Cause | None]:
    """A and B judged in different prompts, perhaps by different versions of the judge."""
    shown = [shown_of(arm, panel_of(case)) for arm in case.arms]
    together = len(shown[0].prompts & shown[1].prompts)
    models = [set(one.resolved) for one in shown]
    told = f"A was judged by {prose.names(sorted(models[0]))}, B by {prose.names(sorted(models[1]))}"
    if together == len(shown[0].prompts | shown[1].prompts) and models[0] == models[1]:
        says = "A and B were judged in the same prompts by the same model: drift cancels."
        return [Evidence(name="drift", says=says, bearing="against")], None
    if together:
        return [Evidence(name="drift", says=f"{together} prompts showed both A and B; {told}.")], None
    changed = models[0] != models[1]
    says = "A and B were never judged in one prompt" + (f", and {told}" if changed else "")
    says += ": a drift of the judge would look like a gap."
    share = made
    return [Evidence(name="drift", says=says, bearing="for")], Cause(
        id="judge-drift",
        level=2,
        title="the judge changed between A and B",
        status="supported" if explains(share) else unless_fair(gap, equal),
        share=share,
        share_method=share.method if share else "",
        says=says + (" And the gap is not in the answers themselves." if explains(share) else ""),
        evidence_for=(says,),
        command=next_steps.rescore(case),
    )
