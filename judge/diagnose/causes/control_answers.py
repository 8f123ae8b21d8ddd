"""Control answers: did the judge give those whose right score is known what they deserve?"""

from __future__ import annotations

from equiloss.records.diagnosis import Evidence
from judge.data.control_answers import summarise
from judge.diagnose import prose
from judge.diagnose.case import Case
from judge.diagnose.causes.presentation import panel_of


def test(case: Case) -> tuple[list[Evidence], list[str]]:
    """The evidence, and the warnings among it; neither where there were none."""
    verdicts = [one for arm in case.arms for run in arm.runs for one in run.control_answers_of(panel_of(case))]
    if not verdicts:
        return [], []
    warnings: list[str] = summarise(verdicts, *case.scale)["warnings"]
    says = f"Of {len(verdicts)} control answers the judge "
    says += "gave none what would speak against it." if not warnings else f"shows this: {prose.names(warnings)}."
    return [Evidence(name="planted answers", says=says, bearing="for" if warnings else "against")], warnings
