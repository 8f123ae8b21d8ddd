"""Drift: were A and B judged in different prompts, or by different versions of the judge?"""

from __future__ import annotations

from equiloss.records.diagnosis import Cause, Evidence
from equiloss.statistics.gap import Gap
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case
from judge.diagnose.causes.judge_share import OwnShare
from judge.diagnose.causes.presentation import prompts_of, verdicts_of


def test(case: Case, gap: Gap, own: OwnShare) -> tuple[list[Evidence], Cause | None]:
    """A and B judged in different prompts, perhaps by different versions of the judge."""
    verdicts = [verdicts_of(case, arm) for arm in case.arms]
    prompts_a, prompts_b = (prompts_of(of_arm) for of_arm in verdicts)
    models_a, models_b = (sorted({verdict.judge_resolved for verdict in of_arm}) for of_arm in verdicts)
    together = len(prompts_a & prompts_b)
    models = f"A was judged by {prose.names(models_a)}, B by {prose.names(models_b)}"
    if prompts_a == prompts_b and models_a == models_b:
        says = "A and B were judged in the same prompts by the same model: drift cancels."
        return [Evidence(name="drift", says=says, bearing="against")], None
    if together:
        return [Evidence(name="drift", says=f"{together} prompts showed both A and B; {models}.")], None
    says = "A and B were never judged in one prompt" + (f", and {models}" if models_a != models_b else "")
    says += ": a drift of the judge would look like a gap."
    cause = own.cause(gap, "judge-drift", "the judge changed between A and B", says, next_steps.rescore(case))
    return [Evidence(name="drift", says=says, bearing="for")], cause
