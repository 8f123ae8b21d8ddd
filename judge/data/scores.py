"""What is known about each set of answers, and the scores of several on the same items."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiloss.errors import InputError
from equiloss.records.response import Response
from equiloss.records.verdict import CanaryVerdict, Failure, Verdict
from judge import rubrics
from judge.rubrics import Rubric

OFFLINE_JUDGE = "offline-reference"
OVERALL = "overall"
_SEED = re.compile(r"^(?P<model>.+)\.s(?P<seed>\d+)$")


@dataclass(frozen=True, order=True)
class Panel:
    """A way of judging whose scores may be compared: one rubric, one judge (as asked)."""

    rubric: str
    judge: str

    @property
    def is_llm(self) -> bool:
        """False for the offline reference judge, which measures agreement with the reference answer."""
        return not self.judge.startswith(OFFLINE_JUDGE)

    def __str__(self) -> str:
        return f"{self.rubric} by {self.judge}"


@dataclass(frozen=True)
class Judged:
    """One run's answers and everything beside them. `responses` is by item id, in the order of the file."""

    generator: str
    responses: Mapping[str, Response]
    verdicts: tuple[Verdict, ...] = ()
    failures: tuple[Failure, ...] = ()
    canaries: tuple[CanaryVerdict, ...] = ()
    run: Mapping[str, Any] | None = None
    path: Path | None = None
    files: tuple[Path, ...] = ()

    @property
    def model(self) -> str:
        """The generator without its seed: the runs NAME.s1, NAME.s2, ... are seeds of one model."""
        match = _SEED.match(self.generator)
        return match["model"] if match else self.generator

    @property
    def seed(self) -> int | None:
        """The number N of a run NAME.sN, else None."""
        match = _SEED.match(self.generator)
        return int(match["seed"]) if match else None

    def panels(self) -> list[Panel]:
        """The ways in which these answers were judged, sorted."""
        of_failures = {Panel(one.rubric, one.judge) for one in self.failures}
        return sorted(of_failures | {Panel(one.rubric, one.judge) for one in self.verdicts})


@dataclass(frozen=True)
class Scores:
    """Scores of several runs on the same items. `values` is (G, I, R): run, item, repeat; NaN where none was given.

    `asked` is (G, I): True where the judge was asked about the item (a verdict or a failure exists).
    """

    panel: Panel
    criterion: str
    generators: tuple[str, ...]
    ids: tuple[str, ...]
    values: NDArray[np.float64]
    asked: NDArray[np.bool_]
    categories: tuple[str | None, ...]
    warnings: tuple[str, ...] = field(default=())

    def by_item(self) -> NDArray[np.float64]:
        """Mean over repeats, (G, I); NaN where no repeat gave a score."""
        present = ~np.isnan(self.values)
        count = present.sum(axis=2)
        total = np.where(present, self.values, 0.0).sum(axis=2)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def panels(judged: Sequence[Judged]) -> list[Panel]:
    """Every way in which any of these was judged, sorted."""
    return sorted({panel for one in judged for panel in one.panels()})


def choose_panel(judged: Sequence[Judged], rubric: str | None = None, judge: str | None = None) -> Panel:
    """The panel that all of these share and that fits `rubric` and `judge`; an LLM's before the offline judge's.

    Raises: InputError when nothing was judged, when no panel covers all, or when several remain.
    """
    everything = panels(judged)
    if not everything:
        names = ", ".join(str(one.path or one.generator) for one in judged)
        raise InputError(f"{names}: not judged yet", "run `judge score` on the same files first")
    shared = [
        panel
        for panel in everything
        if all(panel in one.panels() for one in judged)
        and (rubric is None or panel.rubric == rubric)
        and (judge is None or panel.judge == judge)
    ]
    if not shared:
        asked = " and ".join(f"{key} {value!r}" for key, value in (("rubric", rubric), ("judge", judge)) if value)
        there = "; ".join(f"{one.generator}: {', '.join(map(str, one.panels())) or 'nothing'}" for one in judged)
        raise InputError(
            f"no rubric and judge {f'with {asked} ' if asked else ''}that all files share ({there})",
            "run `judge score` on all of them together",
        )
    best = [panel for panel in shared if panel.is_llm] or shared
    if len(best) > 1:
        raise InputError(
            f"judged in {len(best)} ways ({', '.join(map(str, best))})", "choose with --rubric and --judge"
        )
    return best[0]


def scores(judged: Sequence[Judged], panel: Panel, criterion: str | None = None) -> Scores:
    """Scores of all items that any of these was judged on, for one panel.

    Without `criterion`: the one named "overall" or, where there is none, the mean of all criteria, weighted as the
    rubric says; a repeat that lacks a criterion has no score.
    Raises: InputError when the rubric's text differs between verdicts, or no verdict has that criterion.
    """
    of_panel = [
        [one for one in run.verdicts if (one.rubric, one.judge) == (panel.rubric, panel.judge)] for run in judged
    ]
    failed = [[one for one in run.failures if (one.rubric, one.judge) == (panel.rubric, panel.judge)] for run in judged]
    warnings = _check_comparable(panel, [one for verdicts in of_panel for one in verdicts])
    known = sorted({one.criterion for verdicts in of_panel for one in verdicts})
    if criterion is not None and criterion not in known:
        raise InputError(f"no verdict on {criterion!r}", f"the criteria are {', '.join(known) or 'none'}")
    wanted = [criterion] if criterion else [OVERALL] if OVERALL in known else known
    shares = _weights(panel, [one for verdicts in of_panel for one in verdicts])

    seen = {one.id for run in (*of_panel, *failed) for one in run}
    ids = [one for one in dict.fromkeys(key for run in judged for key in run.responses) if one in seen]
    ids = list(dict.fromkeys([*ids, *(one.id for run in (*of_panel, *failed) for one in run)]))
    place = {one: index for index, one in enumerate(ids)}
    repeats = sorted({one.repeat for run in (*of_panel, *failed) for one in run})
    round_of = {repeat: index for index, repeat in enumerate(repeats)}

    shape = (len(judged), len(ids), max(1, len(repeats)))
    total, weight, count = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.int64)
    asked = np.zeros(shape[:2], dtype=np.bool_)
    for row, (verdicts, failures) in enumerate(zip(of_panel, failed, strict=True)):
        for one in failures:
            asked[row, place[one.id]] = True
        for one in verdicts:
            asked[row, place[one.id]] = True
            if one.criterion in wanted:
                where = (row, place[one.id], round_of[one.repeat])
                share = shares.get(one.criterion, 1.0)
                total[where] += share * one.value
                weight[where] += share
                count[where] += 1
    complete = (count >= len(wanted)) & (weight > 0) if wanted else np.zeros(shape, dtype=np.bool_)
    return Scores(
        panel=panel,
        criterion=criterion or OVERALL,
        generators=tuple(one.generator for one in judged),
        ids=tuple(ids),
        values=np.where(complete, total / np.where(weight > 0, weight, 1.0), np.nan),
        asked=asked,
        categories=tuple(_category(judged, one) for one in ids),
        warnings=tuple(warnings),
    )


def canaries(judged: Sequence[Judged], panel: Panel) -> list[CanaryVerdict]:
    """The panel's verdicts on planted answers."""
    return [one for run in judged for one in run.canaries if Panel(one.rubric, one.judge) == panel]


def criteria(judged: Sequence[Judged], panel: Panel) -> list[str]:
    """The criteria that the panel's verdicts are on, sorted."""
    return sorted({v.criterion for one in judged for v in one.verdicts if Panel(v.rubric, v.judge) == panel})


def _check_comparable(panel: Panel, verdicts: Sequence[Verdict]) -> list[str]:
    if len({one.rubric_sha for one in verdicts}) > 1:
        raise InputError(
            f"the verdicts were given with different versions of the rubric {panel.rubric!r}",
            "run `judge score` on all files together",
        )
    resolved = sorted({one.judge_resolved for one in verdicts})
    if len(resolved) > 1:
        return [f"{panel.judge} answered as {len(resolved)} different models: {', '.join(resolved)}"]
    return []


def _weights(panel: Panel, verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The criteria's weights: as the verdicts carry them, else as the shipped rubric of the same text has them."""
    carried: dict[str, float] = {}
    for one in verdicts:
        if "weight" in (extra := one.model_extra or {}):
            carried[one.criterion] = float(extra["weight"])
    rubric = shipped_rubric(panel, verdicts[0].rubric_sha) if verdicts else None
    return {one.name: one.weight for one in rubric.front.criteria} | carried if rubric else carried


def shipped_rubric(panel: Panel, sha: str) -> Rubric | None:
    """The shipped rubric that these verdicts were given with, if it is one and has not changed since."""
    if panel.rubric not in rubrics.names():
        return None
    rubric = rubrics.load(panel.rubric)
    return rubric if rubric.sha == sha else None


def scale(judged: Sequence[Judged], panel: Panel) -> tuple[float, float]:
    """The least and the greatest score that the rubric allows: as the verdicts or the shipped rubric say.

    Where neither does, those that were given.
    """
    verdicts = [v for one in judged for v in one.verdicts if Panel(v.rubric, v.judge) == panel]
    if verdicts and (carried := (verdicts[0].model_extra or {}).get("scale")):
        low, high = carried
        return float(low), float(high)
    if rubric := shipped_rubric(panel, verdicts[0].rubric_sha) if verdicts else None:
        return rubric.span
    given = [v.value for v in verdicts]
    return (min(given), max(given)) if given else (0.0, 1.0)


def _category(judged: Sequence[Judged], one: str) -> str | None:
    return next((run.responses[one].category for run in judged if one in run.responses), None)
