"""A diagnosis on the report's page: the answer, the elimination ladder, and a section with a plot for each level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from equiloss.numerals import estimated, estimated_share, significant
from equiloss.records.diagnosis import Cause, Diagnosis, Level, Row
from equiloss.statistics.estimate import Estimate
from judge.diagnose import naming, terminal
from judge.diagnose.case import Case
from judge.labelling.label import Label
from judge.report import build, overview, plots
from judge.report.sections import Outcome, Report, Rung, Section

OUTCOMES: dict[str, Outcome] = {
    "clear": "cleared",
    "accounts": "accounts",
    "undetermined": "unclear",
    "not-tested": "untested",
}
NAMES = ("Premise", "Reality", "The judge", "The decoding", "The recipe", "The base model")


def report(case: Case, diagnosis: Diagnosis, title: str = "", labels: Sequence[Label] = ()) -> Report:
    """The whole report of two models: the comparison with its browser of items, led by the diagnosis.

    Raises: InputError as `judge.compare.compare` does; the answers must be judged.
    """
    return build.build(
        [*case.a.runs, *case.b.runs],
        rubric=diagnosis.rubric,
        judge=diagnosis.judge,
        title=title,
        question=f"Why do {case.a.name} (A) and {case.b.name} (B) score differently?",
        ladder=ladder(diagnosis),
        sections=sections(diagnosis),
        answer=diagnosis.verdict.sentence,
        diagnosis=diagnosis,
        labels=labels,
    )


def ladder(diagnosis: Diagnosis) -> tuple[Rung, ...]:
    """The six rungs. Level 1 accounts for the gap where noise does."""
    return tuple(
        Rung(level.number, NAMES[level.number], OUTCOMES[level.status], level.says, section=f"level-{level.number}")
        for level in diagnosis.levels
    )


def sections(diagnosis: Diagnosis) -> tuple[Section, ...]:
    """The verdict with all causes, then a section per level."""
    return (_causes(diagnosis), *(_level(level) for level in diagnosis.levels))


def _causes(diagnosis: Diagnosis) -> Section:
    verdict, steps = diagnosis.verdict, _steps(diagnosis)
    axis = plots.axis([end for step in steps for end in (step.start, step.end, *(step.span or ()))], include=[0.0])
    body = overview.fill(
        "causes",
        verdict=verdict,
        questions=terminal.answered(diagnosis.questions),
        steps=[_step(step, axis) for step in steps],
        axis=axis,
        rows=[_cause(cause) for cause in diagnosis.causes],
    )
    data = {
        "verdict": verdict.model_dump(mode="json"),
        "contributions": [one.model_dump(mode="json") for one in diagnosis.contributions],
    }
    return Section("causes", "What the gap is made of", body, data, "")


def _steps(diagnosis: Diagnosis) -> list[Step]:
    """The contributions that are shown, one after the other, what is unexplained, and the whole gap."""
    steps: list[Step] = []
    at = 0.0
    for cause, points in naming.shown(diagnosis.causes):
        others = [one.title for one in diagnosis.causes if one.id in cause.tied]
        steps.append(Step.of(" or ".join([cause.title, *others]), cause.grade, points, at))
        at = steps[-1].end
    if diagnosis.gap is not None and diagnosis.unexplained is not None:
        steps.append(Step.of("unexplained", "", diagnosis.unexplained, at))
        steps.append(Step.of("the gap, A minus B", "", diagnosis.gap, 0.0))
    return steps


@dataclass(frozen=True)
class Step:
    """A row of the waterfall: from where the last one ended to where this one ends, with the interval of that end."""

    title: str
    grade: str
    points: Estimate
    start: float
    end: float
    span: tuple[float, float] | None

    @classmethod
    def of(cls, title: str, grade: str, points: Estimate, start: float) -> Step:
        """The step that these points make from `start`."""
        span = _span(points)
        moved = None if span is None else (start + span[0], start + span[1])
        return cls(title, grade, points, start, start + points.value, moved)


def _step(step: Step, axis: plots.Axis) -> dict[str, object]:
    points = estimated(step.points)
    return {
        "title": step.title,
        "grade": step.grade,
        "points": points,
        "plot": plots.step(axis, step.start, step.end, step.span, f"{step.title}: {points}"),
    }


def _cause(cause: Cause) -> dict[str, object]:
    """A cause with its points and share in words."""
    share = "" if cause.share is None else naming.in_words(cause.share.value)
    points = "not measured" if cause.points is None else estimated(cause.points)
    return {
        "cause": cause,
        "points": points,
        "share": f"{share}, the other way" if share and _against(cause) else share,
    }


def _against(cause: Cause) -> bool:
    return cause.share is not None and cause.share.value < 0


SHARES = plots.axis([-50.0, 150.0])
"""One axis for all shares, in per cent of the gap."""


def _span(estimate: Estimate, factor: float = 1.0) -> tuple[float, float] | None:
    if estimate.low is None or estimate.high is None:
        return None
    return factor * estimate.low, factor * estimate.high


def _level(level: Level) -> Section:
    plot, ruler = _plot(level)
    body = overview.fill(
        "level",
        level=level,
        word=terminal.word(level),
        plot=plot,
        ruler=ruler,
        tables=[_table(name, rows) for name, rows in level.tables.items() if rows],
        causes=[_cause(cause) for cause in level.causes],
    )
    data = level.model_dump(mode="json")
    return Section(f"level-{level.number}", f"{level.number} {NAMES[level.number]}", body, data, level.says)


def _plot(level: Level) -> tuple[Markup | None, Markup | None]:
    """The level's number with its interval; for levels 2 to 5 that is a share of the gap, in per cent."""
    effect = level.effect
    if effect is None:
        return None, None
    of_gap = effect.unit == "share"
    factor, told = (100.0, estimated_share(effect)) if of_gap else (1.0, estimated(effect))
    span = _span(effect, factor)
    axis = SHARES if of_gap else plots.axis([effect.value, *(span or ()), 0.0])
    plot = plots.interval(axis, factor * effect.value, span, -1, f"{level.title} {told}", zero=True)
    return plot, plots.ruler(axis)


TITLES = {
    "losses": "Loss of the base models, nats a token",
    "categories": "The gap by category",
    "needed": "The least gap that other designs would find",
    "faults": "Faults of answers",
    "differences": "Recorded fields that differ",
    "curve": "Loss by epoch",
    "measures": "What the probes measured",
}
HIDDEN = ("cause",)


def _table(name: str, rows: Sequence[Row]) -> dict[str, object]:
    """A level's table: headings and cells as text."""
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in HIDDEN]
    numbers = {key: _numeric([row.get(key) for row in rows]) for key in keys}
    return {
        "title": TITLES.get(name, name),
        "headings": [{"text": key.replace("_", " "), "number": numbers[key]} for key in keys],
        "rows": [[{"text": _cell(row.get(key)), "number": numbers[key]} for key in keys] for row in rows],
    }


def _numeric(values: Sequence[object]) -> bool:
    known = [one for one in values if one is not None]
    return bool(known) and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in known)


def _cell(value: str | float | bool | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return significant(value) if isinstance(value, float) else str(value)
