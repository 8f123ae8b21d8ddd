"""Scores of several runs on the same items: whose may be compared, on which scale, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from equiloss import commands
from equiloss.errors import InputError
from equiloss.records.verdict import Failure, Verdict, pair_id
from equiloss.statistics.missing import present_mean
from judge import rubrics
from judge.data.verdicts import Judged, Panel
from judge.rubrics import Rubric

OVERALL = "overall"


@dataclass(frozen=True)
class Scores:
    """Scores of several runs on the same items. `values` is (G, I, R): run, item, repeat; NaN where none was given.

    `asked` is (G, I): True where the judge was asked about the item (a verdict or a failure exists). Of preferences
    `ids` may name comparisons (`by_pair`): an item and the two who met; `items` are then the items of these.
    """

    panel: Panel
    criterion: str
    generators: tuple[str, ...]
    ids: tuple[str, ...]
    repeats: tuple[int, ...]
    values: NDArray[np.float64]
    asked: NDArray[np.bool_]
    categories: tuple[str | None, ...]
    items: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, judged: Sequence[Judged], panel: Panel, criterion: str | None = None, *, by_pair: bool = False
    ) -> Scores:
        """Scores of all items that any of these was judged on, for one panel; with `by_pair` of all comparisons.

        Without `criterion`: the one named "overall" or, where there is none, the mean of all criteria, weighted as the
        rubric says; a repeat that lacks a criterion has no score.
        Raises: InputError when the rubric's text differs between verdicts, or no verdict has that criterion.
        """
        verdicts = [run.verdicts_of(panel) for run in judged]
        lines = [(*given, *run.failures_of(panel)) for given, run in zip(verdicts, judged, strict=True)]
        together = [verdict for given in verdicts for verdict in given]
        warnings = _check_comparable(panel, together)
        known = criteria_of(judged, panel)
        if criterion is not None and criterion not in known:
            raise InputError(f"no verdict on {criterion!r}", f"the criteria are {', '.join(known) or 'none'}")
        wanted = [criterion] if criterion else [OVERALL] if OVERALL in known else known
        weights = _weights(panel, together)

        units = [[unit_of(line, by_pair) for line in own] for own in lines]
        item_of = {
            unit: line.id
            for own, names in zip(lines, units, strict=True)
            for line, unit in zip(own, names, strict=True)
        }
        answered = (id for run in judged for id in run.responses if id in item_of)
        column = {unit: index for index, unit in enumerate(dict.fromkeys((*answered, *item_of)))}
        items = tuple(item_of[unit] for unit in column)
        turn = {repeat: index for index, repeat in enumerate(sorted({line.repeat for own in lines for line in own}))}

        shape = (len(judged), len(column), max(1, len(turn)))
        total, weight, count = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.int64)
        asked = np.zeros(shape[:2], dtype=np.bool_)
        for row, given in enumerate(verdicts):
            columns = np.fromiter((column[unit] for unit in units[row]), np.int64)
            asked[row, columns] = True
            turns = np.fromiter((turn[verdict.repeat] for verdict in given), np.int64)
            values = np.fromiter((verdict.value for verdict in given), np.float64)
            for name in wanted:
                these = np.fromiter((verdict.criterion == name for verdict in given), np.bool_)
                cells, share = (columns[: len(given)][these], turns[these]), weights.get(name, 1.0)
                np.add.at(total[row], cells, share * values[these])
                np.add.at(weight[row], cells, share)
                np.add.at(count[row], cells, 1)
        complete = (count >= len(wanted)) & (weight > 0) if wanted else np.zeros(shape, dtype=np.bool_)
        return cls(
            panel=panel,
            criterion=criterion or OVERALL,
            generators=tuple(run.generator for run in judged),
            ids=tuple(column),
            repeats=tuple(turn) or (0,),
            values=np.where(complete, total / np.where(weight > 0, weight, 1.0), np.nan),
            asked=asked,
            categories=tuple(map(_categories(judged).get, items)),
            items=items,
            warnings=tuple(warnings),
        )

    def by_item(self) -> NDArray[np.float64]:
        """Mean over repeats, (G, I); NaN where no repeat gave a score."""
        return present_mean(self.values, axis=2)

    def by_answer(self) -> dict[tuple[str, str], float]:
        """The score of each answer that has one, by its run and its id: the mean over repeats."""
        answers = zip(product(self.generators, self.ids), self.by_item().ravel().tolist(), strict=True)
        return {answer: value for answer, value in answers if not math.isnan(value)}

    @classmethod
    def of_units(cls, judged: Sequence[Judged], panel: Panel) -> Scores:
        """Scores of what was judged each time: of items, or of comparisons where verdicts are preferences.

        Of a comparison the score of the one whose name comes first counts: the other's says the same.
        """
        if not are_preferences(line for run in judged for line in run.verdicts_of(panel)):
            return cls.of(judged, panel)
        pairs = cls.of(judged, panel, by_pair=True)
        lines = (line for run in judged for line in run.verdicts_of(panel))
        first = {pair_id(line.id, line.group): min(line.group) for line in lines}
        mine = np.array([[first.get(id) == name for id in pairs.ids] for name in pairs.generators])
        return replace(pairs, values=np.where(mine[:, :, None], pairs.values, np.nan))


def panels_of(judged: Sequence[Judged]) -> list[Panel]:
    """Every way in which any of these was judged, sorted."""
    return sorted({panel for run in judged for panel in run.panels()})


def choose_panel(judged: Sequence[Judged], rubric: str | None = None, judge: str | None = None) -> Panel:
    """The panel that all of these share and that fits `rubric` and `judge`; an LLM's before the offline judge's.

    Raises: InputError when nothing was judged, when no panel covers all, or when several remain.
    """
    everything = panels_of(judged)
    files = [run.path or run.generator for run in judged]
    if not everything:
        raise InputError(
            f"{', '.join(map(str, files))}: not judged yet",
            f"run `{commands.judge_score(files)}` first, or say with --verdicts where they lie",
        )
    shared = [
        panel
        for panel in everything
        if all(panel in run.panels() for run in judged)
        and (rubric is None or panel.rubric == rubric)
        and (judge is None or judge in (panel.judge, panel.judge.partition("@http")[0]))
    ]
    if not shared:
        asked = " and ".join(f"{key} {value!r}" for key, value in (("rubric", rubric), ("judge", judge)) if value)
        known = "; ".join(f"{run.generator}: {', '.join(map(str, run.panels())) or 'nothing'}" for run in judged)
        raise InputError(
            f"no rubric and judge {f'with {asked} ' if asked else ''}that all files share ({known})",
            f"judge them together: `{commands.judge_score(files)}`",
        )
    best = [panel for panel in shared if panel.judge == judge] or [panel for panel in shared if panel.is_llm] or shared
    if len(best) > 1:
        raise InputError(
            f"judged in {len(best)} ways ({', '.join(map(str, best))})", "choose with --rubric and --judge"
        )
    return best[0]


def criteria_of(judged: Sequence[Judged], panel: Panel) -> list[str]:
    """The criteria that the panel's verdicts are on, sorted."""
    return sorted({verdict.criterion for run in judged for verdict in run.verdicts_of(panel)})


def scale_of(judged: Sequence[Judged], panel: Panel) -> tuple[float, float]:
    """The least and the greatest score that the rubric allows: as the verdicts or the shipped rubric say.

    Where neither does, those that were given.
    """
    verdicts = [verdict for run in judged for verdict in run.verdicts_of(panel)]
    if verdicts and verdicts[0].scale is not None:
        return verdicts[0].scale
    if rubric := shipped_rubric(panel, verdicts[0].rubric_sha) if verdicts else None:
        return rubric.span
    given = [verdict.value for verdict in verdicts]
    return (min(given), max(given)) if given else (0.0, 1.0)


def are_preferences(verdicts: Iterable[Verdict]) -> bool:
    """Whether verdicts say which of two answers is better: given in pairs whose two values add up to 1."""
    sums: dict[tuple[object, ...], list[float]] = {}
    for line in verdicts:
        if len(line.group) != 2 or line.scale not in (None, (0, 1)) or not 0 <= line.value <= 1:
            return False
        sums.setdefault((line.request_sha, line.repeat, *line.group), []).append(line.value)
    return bool(sums) and all(sum(values) == 1 for values in sums.values() if len(values) == 2)


def unit_of(line: Verdict | Failure, by_pair: bool) -> str:
    """What a verdict is on: an item, or with `by_pair` a comparison."""
    return pair_id(line.id, line.group) if by_pair else line.id


def shipped_rubric(panel: Panel, sha: str) -> Rubric | None:
    """The shipped rubric that these verdicts were given with, if it is one and has not changed since."""
    if panel.rubric not in rubrics.names():
        return None
    rubric = rubrics.load(panel.rubric)
    return rubric if rubric.sha == sha else None


def _check_comparable(panel: Panel, verdicts: Sequence[Verdict]) -> list[str]:
    if len({verdict.rubric_sha for verdict in verdicts}) > 1:
        raise InputError(
            f"the verdicts were given with different versions of the rubric {panel.rubric!r}",
            "run `judge score` on all files together",
        )
    resolved = sorted({verdict.judge_resolved for verdict in verdicts} - {""})
    if len(resolved) > 1:
        return [f"{panel.judge} answered as {len(resolved)} different models: {', '.join(resolved)}"]
    return []


def _weights(panel: Panel, verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The criteria's weights: as the verdicts carry them, else as the shipped rubric of the same text has them."""
    carried = {verdict.criterion: verdict.weight for verdict in verdicts if verdict.weight is not None}
    rubric = shipped_rubric(panel, verdicts[0].rubric_sha) if verdicts else None
    return {criterion.name: criterion.weight for criterion in rubric.front.criteria} | carried if rubric else carried


def _categories(judged: Sequence[Judged]) -> dict[str, str | None]:
    """Each item's category, as the first run that answered it has it."""
    return {id: response.category for run in reversed(judged) for id, response in run.responses.items()}
