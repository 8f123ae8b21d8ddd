"""The three questions that a gap answers: of these answers, of these base models, of these recipes."""

from __future__ import annotations

from equiloss.records.diagnosis import Question, Questions
from equiloss.records.noise import Spread
from equiloss.statistics.crossed import Crossed
from equiloss.statistics.gap import Gap
from judge.comparison.assumed import assumed


def questions(gap: Gap | None, noise: Spread | None = None) -> Questions:
    """Each with an interval over its own unit, or None where that was not varied and no ledger says its spread."""
    split = gap.split if gap is not None else None
    if split is None:
        return Questions()
    bases, recipes = assumed(split, noise) if noise else (None, None)
    return Questions(
        answers=_question(split.answers, "items"),
        bases=_question(split.bases, "fine-tuning seeds") or _question(bases, "fine-tuning seeds, by the ledger"),
        recipes=_question(split.recipes, "base runs") or _question(recipes, "base runs, by the ledger"),
    )


def _question(answer: Crossed | None, unit: str) -> Question | None:
    if answer is None:
        return None
    low, high = answer.interval()
    p = None if unit == "items" else answer.p  # over items alone a p value would speak of more than these answers
    return Question(points=answer.value, low=low, high=high, unit=unit, p=p)
