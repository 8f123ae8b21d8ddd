"""Variance components of runs, and what one more of each would do to the interval of a contrast of two recipes.

Levels are nested: recipe > data draw > base run > fine-tuning seed; runs are crossed with items. At each level the mean
square is the pooled variance of its units' means within their parent; a component is the mean square less that of the
level below over the number of units below (harmonic mean): Searle, Casella & McCulloch, Variance Components (1992),
chapters 3 and 4. Intervals: `equiloss.statistics.components`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from equiloss.errors import InputError
from equiloss.provenance import provenance
from equiloss.records.noise import Allocation, Level, NoiseComponent, NoiseLedger, Purchase
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.components import MeanSquare, standard_deviation, total
from equiloss.statistics.crossed import complete
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.missing import present_mean
from study.noise.measurements import ScoredRun

Key = tuple[str, ...]
Z = 1.959964
BUDGET_HOURS = (1, 3, 10, 30, 100, 300)


@dataclass(frozen=True)
class _Units:
    """Means of one level's units by their parent, and how many units of the level below each has."""

    means: dict[Key, list[float]]
    below: list[int]

    @property
    def square(self) -> MeanSquare | None:
        """The pooled variance within parents; None where no parent has two units."""
        several = [values for values in self.means.values() if len(values) > 1]
        df = sum(len(values) - 1 for values in several)
        if not df:
            return None
        return MeanSquare(sum((len(values) - 1) * float(np.var(values, ddof=1)) for values in several) / df, df)

    @property
    def harmonic(self) -> float:
        """The harmonic mean of the numbers of units below."""
        return len(self.below) / sum(1 / n for n in self.below)


def noise_ledger(runs: Sequence[ScoredRun], source: Sequence[str] = ()) -> NoiseLedger:
    """The ledger of these runs. Raises: InputError where nothing was measured twice."""
    data_varied = any(
        len({run.base for run in runs if (run.recipe, run.data) == key}) > 1
        for key in {(r.recipe, r.data) for r in runs}
    ) and len({(run.recipe, run.data) for run in runs}) > len({run.recipe for run in runs})
    data = [run.data if data_varied else "" for run in runs]
    cells, cells_df = _cells(runs)
    means = [float(np.nanmean(run.scores)) for run in runs] if cells is None else cells.values.mean(axis=1).tolist()
    leaves = {(run.recipe, data[i], run.base, str(i)): means[i] for i, run in enumerate(runs)}
    levels: dict[Level, _Units] = {}
    depths: tuple[tuple[Level, int], ...] = (("fine_tuning_seed", 3), ("pretraining_run", 2), ("data_draw", 1))
    for level, depth in depths:
        if level != "data_draw" or data_varied:
            levels[level] = _units(leaves, depth)
    components, missing = _components(levels, cells, cells_df, runs)
    if not components:
        raise InputError(
            "nothing was measured twice", "name runs of several seeds, or a table with several judgings a model"
        )
    counted = [len(units.below) for units in levels.values()]
    design = _Design(
        bases=max(1, round(counted[1] / len({run.recipe for run in runs}))),
        seeds=max(1, round(levels["pretraining_run"].harmonic)),
        items=None if cells is None else cells.values.shape[1],
        repeats=max(run.scores.shape[1] for run in runs),
    )
    ledger = NoiseLedger(
        source=list(source),
        components=components,
        not_measured=missing,
        two_runs_differ_by=_differ(levels),
        runs=len(runs),
        recipes=len({run.recipe for run in runs}),
        bases=design.bases,
        seeds=design.seeds,
        items=design.items,
        repeats=design.repeats,
        provenance=provenance(),
    )
    return ledger.model_copy(update=_purchases(ledger, design))


@dataclass(frozen=True)
class _Crossed:
    """Cells (runs, I) over the items that all runs have, and the variance of the judge's repeats within them."""

    values: Floats
    repeat: MeanSquare | None


def _cells(runs: Sequence[ScoredRun]) -> tuple[_Crossed | None, float]:
    """Single scores crossed with items; None where only means are at hand. And the df of run x item."""
    if any(run.of_means for run in runs):
        return None, 0.0
    scores = np.stack([run.scores for run in runs])  # (S, I, R)
    table = complete(present_mean(scores, 2))
    kept = ~np.isnan(table).any(axis=0)
    count = (~np.isnan(scores)).sum(axis=2, keepdims=True)
    squares = np.nansum((scores - present_mean(scores, 2)[:, :, None]) ** 2)
    df = int((count - 1).clip(min=0).sum())
    return _Crossed(table[:, kept], MeanSquare(float(squares) / df, df) if df else None), float(kept.sum() - 1)


def _units(leaves: dict[Key, float], depth: int) -> _Units:
    """The units at a depth of the tree: means of the means below, by parent."""
    values, below = dict(leaves), dict.fromkeys(leaves, 1)
    for level in range(3, depth, -1):
        groups: dict[Key, list[float]] = {}
        for key, value in values.items():
            groups.setdefault(key[:level], []).append(value)
        values = {key: fmean(members) for key, members in groups.items()}
        below = {key: len(members) for key, members in groups.items()}
    means: dict[Key, list[float]] = {}
    for key, value in values.items():
        means.setdefault(key[:-1], []).append(value)
    return _Units(means, list(below.values()))


def _components(
    levels: dict[Level, _Units], cells: _Crossed | None, cells_df: float, runs: Sequence[ScoredRun]
) -> tuple[list[NoiseComponent], dict[str, str]]:
    rows: list[NoiseComponent] = []
    missing: dict[str, str] = {}
    seed_item = None if cells is None else _seed_item(cells.values, runs, cells_df)
    lower = None
    if cells is not None and seed_item is not None:
        lower = MeanSquare(seed_item.value / cells.values.shape[1], seed_item.df)
    costs: dict[Level, float | None] = {
        "fine_tuning_seed": _mean(run.fine_tuning_s for run in runs),
        "pretraining_run": _mean(run.pretraining_s for run in runs),
        "data_draw": _mean(run.pretraining_s for run in runs),
    }
    inside: list[Level] = []
    for level, units in levels.items():
        square = units.square
        if square is None:
            missing[level] = "no two of one parent among these runs"
            inside.append(level)
            lower = None
            continue
        squares = [square]
        if lower is not None:
            squares.append(MeanSquare(lower.value, lower.df, -1 / units.harmonic))
        rows.append(
            NoiseComponent(
                level=level,
                sd=standard_deviation(total(squares)),
                df=square.df,
                includes=tuple(inside),
                cost_s=costs[level],
            )
        )
        inside, lower = [], square
    if cells is None:
        rows += _judgings(runs)
        missing |= dict.fromkeys(("item", "seed_item"), "the table holds means over items alone")
    else:
        if item := _model_item(cells.values, runs, seed_item):
            rows.append(NoiseComponent(level="item", sd=standard_deviation(total(item)), df=item[0].df))
        else:
            missing["item"] = "runs of a single recipe"
        if seed_item is not None:
            rows.append(NoiseComponent(level="seed_item", sd=standard_deviation(total([seed_item])), df=seed_item.df))
        if cells.repeat is not None:
            usd = _mean(run.verdict_usd for run in runs)
            rows.append(
                NoiseComponent(
                    level="judge_repeat",
                    sd=standard_deviation(total([cells.repeat])),
                    df=cells.repeat.df,
                    cost_usd=usd,
                )
            )
    if not any(row.level == "judge_repeat" for row in rows):
        missing["judge_repeat"] = "no answer was judged twice"
    return rows, missing


def _seed_item(values: Floats, runs: Sequence[ScoredRun], df: float) -> MeanSquare | None:
    """What is left of run + item among the runs of one base: seed x item, with the judge's noise."""
    squares = units = 0.0
    for base in {(run.recipe, run.base) for run in runs}:
        own = values[[(run.recipe, run.base) == base for run in runs]]
        if len(own) > 1:
            left = own - own.mean(axis=1, keepdims=True) - own.mean(axis=0) + own.mean()
            squares, units = squares + float((left**2).sum()), units + len(own) - 1
    return MeanSquare(squares / (units * df), units * df) if units and df else None


def _model_item(values: Floats, runs: Sequence[ScoredRun], seed_item: MeanSquare | None) -> list[MeanSquare]:
    """What an item is worth more to one recipe than to another: of the recipes' means; empty for a single recipe."""
    recipes = [values[[run.recipe == recipe for run in runs]] for recipe in dict.fromkeys(run.recipe for run in runs)]
    if len(recipes) < 2 or values.shape[1] < 2:
        return []
    means = np.stack([own.mean(axis=0) for own in recipes])
    left = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0) + means.mean()
    df = (len(recipes) - 1) * (values.shape[1] - 1)
    squares = [MeanSquare(float((left**2).sum()) / df, df)]
    if seed_item is not None:
        share = fmean(1 / len(own) for own in recipes)
        squares.append(MeanSquare(seed_item.value, seed_item.df, -share))
    return squares


def _judgings(runs: Sequence[ScoredRun]) -> list[NoiseComponent]:
    """The judge's noise in a model's mean: what is left of model + judging, since a contrast is judged together."""
    table = complete(np.concatenate([run.scores for run in runs]))
    n, repeats = table.shape
    if n < 2 or repeats < 2:
        return []
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    square = MeanSquare(float((left**2).sum()) / ((n - 1) * (repeats - 1)), (n - 1) * (repeats - 1))
    sd = standard_deviation(total([square]))
    return [NoiseComponent(level="judge_repeat", sd=sd, df=square.df, of_means=True)]


def _differ(levels: dict[Level, _Units]) -> Estimate | None:
    """What 95 % of pairs of runs of one recipe differ by less than: of all levels that were measured together."""
    squares: list[MeanSquare] = []
    share = 1.0
    for units in reversed(levels.values()):
        if (square := units.square) is not None:
            squares.append(MeanSquare(square.value, square.df, share))
            share = 1 - 1 / units.harmonic
    return standard_deviation(total(squares), factor=Z * math.sqrt(2)) if squares else None


@dataclass(frozen=True)
class _Design:
    bases: int
    seeds: int
    items: int | None
    repeats: int


def _purchases(ledger: NoiseLedger, now: _Design) -> dict[str, object]:
    """The contrast's half-width now, and with one more of each on both sides; the best designs by budget."""

    def variance(level: Level) -> float:
        row = ledger.component(level)
        return row.sd.value**2 if row else 0.0

    def half(design: _Design) -> float:
        runs, items = design.bases * design.seeds, design.items or 1
        repeat = variance("judge_repeat")
        noise = max(0.0, variance("seed_item") - repeat / now.repeats) / items / runs
        single = next((row.of_means for row in ledger.components if row.level == "judge_repeat"), False)
        noise += repeat / design.repeats / runs / (1 if single else items)
        noise += variance("item") / items if design.items else 0.0
        noise += variance("fine_tuning_seed") / runs
        noise += (variance("pretraining_run") + variance("data_draw")) / design.bases
        return Z * math.sqrt(2 * noise)

    costs = {row.level: row for row in ledger.components}
    base_s, seed_s = (getattr(costs.get(level), "cost_s", None) for level in ("pretraining_run", "fine_tuning_seed"))
    usd = getattr(costs.get("judge_repeat"), "cost_usd", None)
    width, items = half(now), now.items
    runs = now.bases * now.seeds
    options: list[tuple[str, _Design, float | None, float | None]] = []
    judged = None if usd is None or items is None else usd * items * now.repeats
    if "pretraining_run" in costs:
        own = None if base_s is None else 2 * (base_s + now.seeds * (seed_s or 0.0)) / 3600
        options.append(
            ("base run", replace(now, bases=now.bases + 1), own, None if judged is None else 2 * now.seeds * judged)
        )
    if "fine_tuning_seed" in costs:
        own = None if seed_s is None else 2 * now.bases * seed_s / 3600
        options.append(
            (
                "fine-tuning seed",
                replace(now, seeds=now.seeds + 1),
                own,
                None if judged is None else 2 * now.bases * judged,
            )
        )
    if items is not None and "item" in costs:
        cost = None if usd is None else 2 * runs * now.repeats * usd
        options.append(("item", replace(now, items=items + 1), None, cost))
    if "judge_repeat" in costs:
        cost = None if usd is None or items is None else 2 * runs * items * usd
        options.append(("judge repeat", replace(now, repeats=now.repeats + 1), None, cost))
    purchases = [
        Purchase(
            what=what,  # pyright: ignore[reportArgumentType]
            half_width=half(design),
            shrinks_by=width - half(design),
            hours=hours,
            usd=dollars,
            per_hour=(width - half(design)) / hours if hours else None,
            per_usd=(width - half(design)) / dollars if dollars else None,
        )
        for what, design, hours, dollars in options
    ]
    allocation: list[Allocation] = []
    if base_s and seed_s:
        for budget in BUDGET_HOURS:
            designs = [
                replace(now, bases=bases, seeds=seeds)
                for seeds in range(1, 21)
                if (bases := int(budget * 3600 / (2 * (base_s + seeds * seed_s)))) >= 2
            ]
            if designs:
                best = min(designs, key=half)
                allocation.append(Allocation(hours=budget, bases=best.bases, seeds=best.seeds, half_width=half(best)))
    return {"half_width": width, "purchases": purchases, "allocation": allocation}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
