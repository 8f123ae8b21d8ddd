"""A diagnosis in the terminal: the answer first, then the ladder, then the causes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiloss import console
from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import Diagnosis, Level, Question, Questions

if TYPE_CHECKING:
    from rich.table import Table

MARKS = {"clear": "✓", "accounts": "✗", "undetermined": "?", "not-tested": "–"}
WORDS = {
    "clear": "does not account for it",
    "accounts": "accounts for it",
    "undetermined": "open",
    "not-tested": "not tested",
}
FIRST_WORDS = {
    0: {"clear": "equivalent", "accounts": "different"},
    1: {"clear": "more than noise", "accounts": "within noise"},
}
QUESTIONS = {
    "answers": "Do these answers differ?",
    "bases": "Would other fine-tunings of these base models?",
    "recipes": "Would other pretraining runs of these recipes?",
}
"""The fields of `Questions` as they are asked."""


def word(level: Level) -> str:
    """A level's status in words: what a reader sees beside the mark."""
    return FIRST_WORDS.get(level.number, {}).get(level.status, WORDS[level.status])


def ladder(diagnosis: Diagnosis) -> Table:
    """The six levels with their marks and what each says."""
    title = f"{diagnosis.a.name} (A) against {diagnosis.b.name} (B)"
    rows = [
        (str(level.number), MARKS[level.status], level.title, word(level), level.says) for level in diagnosis.levels
    ]
    return console.table(title, "rllll", ("level", "", "question", "status", "what was found"), rows)


def answered(questions: Questions) -> list[tuple[str, str, str, str]]:
    """Each question with its answer: points, interval and unit, or that it was not measured."""
    rows: list[tuple[str, str, str, str]] = []
    for name, asks in QUESTIONS.items():
        answer: Question | None = getattr(questions, name)
        if answer is None:
            rows.append((asks, "not measured", "", ""))
        else:
            bounds = f"{significant(answer.low)} to {significant(answer.high)}"
            rows.append((asks, significant(answer.points), bounds, answer.unit))
    return rows


def questions(diagnosis: Diagnosis) -> Table:
    """The three questions with their answers."""
    headings = ("question", "points", "95 % interval", "over")
    return console.table("The gap, A minus B", "lrll", headings, answered(diagnosis.questions))


def causes(diagnosis: Diagnosis) -> Table:
    """The causes that were considered, ranked, and what they leave unexplained."""
    rows: list[tuple[str, ...]] = []
    for cause in diagnosis.causes:
        points = estimated(cause.points) if cause.points else "not measured"
        evidence = " ".join([*cause.evidence_for, *(f"Against: {text}" for text in cause.evidence_against)])
        rows.append((cause.id, str(cause.level), cause.status, cause.grade, points, evidence or cause.says))
    if diagnosis.unexplained is not None:
        rows.append(("", "", "unexplained", "", estimated(diagnosis.unexplained), ""))
    headings = ("cause", "level", "status", "grade", "points of the gap", "evidence")
    return console.table("Causes considered", "llllll", headings, rows)


def closing(diagnosis: Diagnosis) -> list[str]:
    """The answer, what is missing and the next command, as lines."""
    verdict = diagnosis.verdict
    lines = [f"Answer: {verdict.sentence}"]
    if verdict.missing:
        lines.append(f"Missing: {'; '.join(verdict.missing)}.")
    if verdict.command:
        lines.append(f"Next: {verdict.command}")
    return lines


def show(diagnosis: Diagnosis) -> None:
    """Print a diagnosis: tables and the answer on stdout, warnings on stderr."""
    if diagnosis.judge is not None and not diagnosis.judge_is_llm:
        console.warn(f"the judge {diagnosis.judge} is not an LLM: it measures agreement with the reference answer")
    for note in diagnosis.notes:
        console.warn(note)
    console.emit_table(ladder(diagnosis))
    console.emit_table(questions(diagnosis))
    if diagnosis.causes:
        console.emit_table(causes(diagnosis))
    for line in closing(diagnosis):
        console.out().print(line, markup=False, soft_wrap=True)
