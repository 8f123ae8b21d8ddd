"""The three questions that a gap answers: of these answers, of these base models, of these recipes."""

from __future__ import annotations

from equiloss.records.diagnosis import Question, Questions
from equiloss.statistics.crossed import Crossed
from equiloss.statistics.gap import Gap


def questions(gap: Gap | None) -> Questions:
    """Each with an interval over its own unit, or None where that was not varied."""
    split = gap.split if gap is not None else None
    if split is None:
        return Questions()
    return Questions(
        answers=_question(split.answers, "items"),
        bases=_question(split.bases, "fine-tuning seeds"),
        recipes=_question(split.recipes, "base runs"),
    )


def _question(answer: Crossed | None, unit: str) -> Question | None:
    if answer is None:
        return None
    low, high = answer.interval()
    p = None if unit == "items" else answer.p  # over items alone a p value would speak of more than these answers
    return Question(points=answer.value, low=low, high=high, unit=unit, p=p)
