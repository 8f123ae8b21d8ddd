"""A diagnosis on the report's page: the answer, the elimination ladder, and a section with a plot for each level."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from equiloss.numerals import estimated, estimated_share, significant
from equiloss.records.diagnosis import Cause, Diagnosis, Level, Row
from equiloss.statistics.estimate import Estimate
from judge.diagnose import terminal
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
    verdict = diagnosis.verdict
    body = overview.fill(
        "causes", verdict=verdict, rows=[_cause(one) for one in diagnosis.causes], ruler=plots.ruler(SHARES)
    )
    return Section("causes", "Causes considered", body, {"verdict": verdict.model_dump(mode="json")}, "")


SHARES = plots.axis([-50.0, 150.0])
"""One axis for all shares, in per cent of the gap."""


def _cause(one: Cause) -> dict[str, object]:
    """A cause with its share in words and as a plot."""
    if one.share is None:
        return {"cause": one, "share": "not measured", "plot": Markup("")}
    share = estimated_share(one.share)
    plot = plots.interval(SHARES, 100 * one.share.value, _span(one.share, 100), -1, f"{one.title}: {share}")
    return {"cause": one, "share": share, "plot": plot}


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
        causes=[_cause(one) for one in level.causes],
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
    "categories": "The gap by category",
    "needed": "The least gap that other designs would find",
    "faults": "Faults of answers",
    "differences": "Recorded fields that differ",
    "curve": "Loss by epoch",
    "measures": "What the probes measured",
}
HIDDEN = ("cause", "clean_items")


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
