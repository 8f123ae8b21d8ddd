"""Level 2: does the judge make the gap? Position, length, drift, failures, and what control and equal answers say."""

from __future__ import annotations

from equiloss.numerals import estimated
from equiloss.records.diagnosis import Cause, Evidence, Level, not_tested, tested
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case, Options
from judge.diagnose.causes import control_answers, judge_drift, judge_failures, judge_length, judge_position
from judge.diagnose.causes.judge_share import own_share


def level(case: Case, _options: Options) -> Level:
    """Test the artefacts of judging one by one; each with the points that it makes of the gap."""
    gap = case.gap
    if gap is None or case.panel is None:
        return not_tested(2, "verdicts on the answers", next_steps.score(case))
    evidence, own = own_share(case, gap)
    tests: list[tuple[list[Evidence], Cause | None]]
    if case.panel.is_llm:
        tests = [
            judge_position.test(case, gap, own),
            judge_length.test(case, gap),
            judge_drift.test(case, gap, own),
        ]
    else:
        says = f"{case.panel.judge} is a formula, not an LLM: it has no position effect, no drift and no noise."
        tests = [([Evidence(name="kind of judge", says=says, bearing="against")], None)]
    tests.append(judge_failures.test(case, gap))
    evidence += [one for seen, _ in tests for one in seen]
    causes = [cause for _, cause in tests if cause is not None]
    seen, warnings = control_answers.test(case)
    evidence += seen
    reference_gap = case.reference.estimate if case.reference is not None else None
    suspects = [one.title for one in causes if one.open]
    status, says = "clear", "No artefact of judging that was tested accounts for the gap."
    if warnings:
        status = "undetermined"
        says = f"{says[:-1]}, but control answers speak against this judge: {prose.names(warnings)}."
    elif suspects:
        status = "undetermined"
        says = f"Not excluded, for want of a check that works on these items: {prose.names(suspects)}."
    same_way = reference_gap is not None and reference_gap.excludes(0.0) and reference_gap.value * gap.value > 0
    if reference_gap is not None and same_way and case.reference_predicts:
        says += f" The reference score has it too: A minus B is {estimated(reference_gap)} of 1."
    return tested(
        2,
        status,
        says,
        effect=evidence[0].value if evidence else None,
        evidence=tuple(evidence),
        causes=tuple(causes),
        missing=("a judge that gives control answers what they deserve",) if warnings else (),
        command=next_steps.audit(case) if warnings else next((one.command for one in causes if one.open), None),
    )
