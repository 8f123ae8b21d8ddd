"""Planted answers: did the judge give those whose right score is known what they deserve?"""

from __future__ import annotations

from equiloss.records.diagnosis import Evidence
from judge.data import scores
from judge.data.control_answers import summarise
from judge.diagnose import prose
from judge.diagnose.case import Case
from judge.diagnose.causes.presentation import panel_of


def test(case: Case) -> tuple[list[Evidence], list[str]]:
    """The evidence, and the warnings among it; neither where nothing was planted."""
    planted = scores.canaries([*case.a.runs, *case.b.runs], panel_of(case))
    if not planted:
        return [], []
    warnings: list[str] = summarise(planted, *case.scale)["warnings"]
    says = f"Of {len(planted)} planted answers the judge "
    says += "gave none what would speak against it." if not warnings else f"shows this: {prose.names(warnings)}."
    return [Evidence(name="planted answers", says=says, bearing="for" if warnings else "against")], warnings
