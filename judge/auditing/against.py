"""Two judgings of the same answers, by two judges or at two times: whether their scores may stand in one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from equiloss.errors import InputError
from equiloss.files import write_json
from equiloss.numerals import plain, significant, span
from equiloss.provenance import provenance
from equiloss.records.anchor import AnchorEvidence, CriterionAgreement, Judging
from equiloss.statistics import judgings
from equiloss.statistics.estimate import Estimate
from judge.data.scores import OVERALL, Scores, choose_panel, criteria_of, scale_of
from judge.data.verdicts import Judged, Panel, kind_of

FEWEST_ITEMS = 20
LEAST_RANKS = 0.5
"""What the interval of the rank correlation must lie above."""


class _Side(NamedTuple):
    judged: Sequence[Judged]
    panel: Panel

    def judging(self) -> Judging:
        resolved = {line.judge_resolved for run in self.judged for line in run.verdicts_of(self.panel)}
        return Judging(judge=self.panel.judge, resolved=tuple(sorted(resolved - {""})))

    def shas(self) -> set[str]:
        return {line.rubric_sha for run in self.judged for line in run.verdicts_of(self.panel)}


def against(
    first: Sequence[Judged],
    second: Sequence[Judged],
    *,
    rubric: str | None = None,
    judge: str | None = None,
    margin: float | None = None,
    confidence: float = 0.95,
) -> AnchorEvidence:
    """Hold the second judging against the first, criterion by criterion, on the answers that both judged.

    `margin` in points; None: a twentieth of the scale. `judge` chooses the first judging's.
    Raises: InputError where they share no rubric, or no answer.
    """
    one = _Side(first, choose_panel(first, rubric, judge))
    two = _Side(second, choose_panel(second, one.panel.rubric))
    low, high = scale_of(first, one.panel)
    margin = (high - low) / 20 if margin is None else margin
    names = criteria_of(first, one.panel)
    wanted = [name for name in names if name in criteria_of(second, two.panel)]
    whole = [None] if OVERALL not in names and len(wanted) > 1 else []
    if not wanted:
        raise InputError("the two judgings share no criterion", f"judge again by the rubric {one.panel.rubric!r}")
    rows = tuple(_criterion(one, two, name, margin, confidence) for name in (*wanted, *whole))
    return AnchorEvidence(
        rubric=one.panel.rubric,
        rubric_shas=tuple(sorted(one.shas() | two.shas())),
        first=one.judging(),
        second=two.judging(),
        margin=margin,
        confidence=confidence,
        criteria=rows,
        one_table=not any(row.faults for row in rows),
        provenance=provenance(),
    )


def _criterion(one: _Side, two: _Side, criterion: str | None, margin: float, confidence: float) -> CriterionAgreement:
    before, after = (Scores.of(side.judged, side.panel, criterion).by_answer() for side in (one, two))
    keys = [key for key in after if key in before]
    if not keys:
        raise InputError("the two judgings have no answer in common", "judge the answers of the first with --anchor")
    x, y = (np.array([of[key] for key in keys]) for of in (before, after))
    place = {id: number for number, id in enumerate(dict.fromkeys(id for _, id in keys))}
    items = np.array([place[id] for _, id in keys], dtype=np.intp)
    slope, spread = judgings.slope(x, y, items, confidence), float(np.std(x))
    models = dict.fromkeys(name for name, _ in keys)
    rows = {name: np.array([key[0] == name for key in keys]) for name in models} if len(models) > 1 else {}
    row = CriterionAgreement(
        criterion=criterion or OVERALL,
        n_items=len(place),
        n_answers=len(keys),
        shift=judgings.shift(x, y, items, confidence),
        slope=slope,
        stretch=_stretched(slope, spread) if slope else None,
        ranks=judgings.rank_agreement(x, y, items, confidence),
        drift=judgings.drift(x, y, items, confidence),
        by_model={name: judgings.shift(x[own], y[own], items[own], confidence) for name, own in rows.items()},
    )
    return row.model_copy(update={"faults": tuple(faults(row, margin))})


def _stretched(slope: Estimate, spread: float) -> Estimate:
    value, low, high = (None if end is None else (end - 1) * spread for end in (slope.value, slope.low, slope.high))
    return slope.model_copy(update={"value": value, "low": low, "high": high, "unit": "points", "p": None})


def faults(row: CriterionAgreement, margin: float) -> Iterator[str]:
    """What keeps two judgings out of one table, in words: the rule that docs/judges.md states."""
    within = f"within {plain(margin)} points"
    if row.n_items < FEWEST_ITEMS:
        yield f"only {row.n_items} items, and fewer than {FEWEST_ITEMS} show nothing"
    shifts = {"the shift": row.shift, **{f"the shift of {name}": shift for name, shift in row.by_model.items()}}
    if row.stretch is not None:
        shifts["what the slope makes of an SD"] = row.stretch
    for name, estimate in shifts.items():
        if estimate.low is None or estimate.high is None or estimate.low <= -margin or estimate.high >= margin:
            yield f"{name} is not shown to lie {within} ({_told(estimate)})"
    if row.slope is None:
        yield "the slope is not determined"
    if row.ranks is None or row.ranks.low is None or row.ranks.low <= LEAST_RANKS:
        told = _told(row.ranks) if row.ranks else "not determined"
        yield f"answers are not shown to be ordered alike (rank correlation {told}, wanted above {plain(LEAST_RANKS)})"
    drift = row.drift
    if drift is not None and drift.excludes(0) and max(map(abs, drift.interval)) >= margin:
        yield f"the second judging drifts away by {significant(drift.value)} points ({span(drift.interval)})"


def _told(estimate: Estimate) -> str:
    ends = None if estimate.low is None or estimate.high is None else (estimate.low, estimate.high)
    return f"{significant(estimate.value)}, {span(ends)}"


def verdict_files(paths: Sequence[Path]) -> list[Path]:
    """The verdicts and failures that are named, or lie in the folders that are.

    Raises: InputError for a folder without any.
    """
    files: list[Path] = []
    for path in paths:
        lie_there = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        own = [file for file in lie_there if not path.is_dir() or _is_of_judging(file)]
        if not own:
            raise InputError(f"{path}: holds no verdicts", "name the folder that --anchor had them written to")
        files += own
    return files


def _is_of_judging(file: Path) -> bool:
    return file.stat().st_size > 0 and kind_of(file) in ("verdicts", "failures")


def write(evidence: AnchorEvidence, directory: Path) -> Path:
    """Write against.json; returns its path."""
    path = directory / "against.json"
    write_json(path, evidence.model_dump(mode="json"))
    return path
