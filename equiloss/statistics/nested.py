"""The gap between two models, asked three ways: of these answers, of these base models, of these recipes.

A side has base runs, each fine-tuned with one or more seeds; all answer the same items, perhaps judged repeatedly.

- *answers*: do these two sets of answers differ? Uncertain over items (and the judge's repeats, which lie in them).
- *bases*: would other fine-tunings of these base models differ likewise? The unit is the fine-tuning run.
- *recipes*: would other pretraining runs differ likewise? The unit is the base run.

A question is answered only where its unit varies in the data (on one side at least); `assumed_spread` says what an
assumed spread would make of it. The value is the same for all three: bases of a side count alike, and so do the runs
of a base. A missing score is filled in by its run and its item; an item that a side lacks altogether is left out on
both.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.crossed import (
    Clusters,
    Crossed,
    Floats,
    Stratum,
    complete,
    over_items,
    over_units_and_items,
)


@dataclass(frozen=True)
class Side:
    """One side's scores (S, I, R) by run, item and repeat, NaN where none was given.

    `bases` (S,) names the base of each run. Without `bases` all runs come from one base model.
    """

    scores: Floats
    bases: tuple[Hashable, ...] = ()

    @cached_property
    def cells(self) -> Floats:
        """Means over repeats (S, I), missing cells filled in; NaN only where no run has the item."""
        there = ~np.isnan(self.scores)
        count = there.sum(axis=2)
        total = np.where(there, self.scores, 0.0).sum(axis=2)
        return complete(np.where(count > 0, total / np.maximum(count, 1), np.nan))

    @cached_property
    def rows_by_base(self) -> list[list[int]]:
        """The runs of each base, in the order of their first."""
        rows: dict[Hashable, list[int]] = {}
        for row, base in enumerate(self.bases or (None,) * len(self.scores)):
            rows.setdefault(base, []).append(row)
        return list(rows.values())


@dataclass(frozen=True)
class Components:
    """Variance components of single scores, in squared points; None where the design cannot tell.

    `base`: between base runs of a recipe. `seed`: between fine-tunings of a base. `model_item`: what an item is worth
    more to one side than to the other. `seed_item`: what a run makes of an item (with one repeat, the judge's noise
    too). `repeat`: between the judge's repeats.
    """

    base: float | None
    seed: float | None
    model_item: float
    seed_item: float | None
    repeat: float | None


@dataclass(frozen=True)
class NestedGap:
    """A's mean minus B's with its uncertainty by question; None where the question's unit was not varied."""

    answers: Crossed
    bases: Crossed | None
    recipes: Crossed | None
    components: Components
    n_bases: tuple[int, int]
    n_runs: tuple[int, int]
    n_items: int

    @property
    def value(self) -> float:
        """The gap in points."""
        return self.answers.value

    def assumed_spread(self, seed_sd: float, base_sd: float = 0.0, df: float = math.inf) -> Crossed:
        """The gap's uncertainty if runs of a base had this SD, and bases of a recipe that one (in points, over `df`).

        For what was not varied; the spread over items stays as measured.
        """
        runs = sum(1 / n for n in self.n_runs)
        bases = sum(1 / n for n in self.n_bases)
        return replace(self.answers, units=seed_sd**2 * runs + base_sd**2 * bases, both=0.0, df_units=min(df, 1e9))

    def spread_of_chance(self, confidence: float = 0.95) -> float:
        """How large the SD between fine-tuning runs of one base would have to be for this gap to be chance, in points.

        The SD at which the interval over items and runs just reaches 0; 0 where the interval over items holds 0.
        """
        from scipy import stats

        z = float(stats.norm.ppf((1 + confidence) / 2))
        left = (self.value / z) ** 2 - self.answers.items
        return math.sqrt(max(0.0, left) / sum(1 / n for n in self.n_runs))


def gap(a: Side, b: Side, clusters: Clusters | None = None) -> NestedGap | None:
    """The gap A minus B over the items (I,) that both sides have; `clusters` (I,) numbers items that go together.

    None for fewer than two such items (or clusters).
    """
    kept: NDArray[np.bool_] = np.asarray(~(np.isnan(a.cells).any(axis=0) | np.isnan(b.cells).any(axis=0)))
    if clusters is not None:
        clusters = np.unique(clusters[kept], return_inverse=True)[1].astype(np.intp)
    strata = [
        Stratum(side.cells[rows][:, kept], sign / len(side.rows_by_base), number)
        for number, (side, sign) in enumerate(((a, 1.0), (b, -1.0)))
        for rows in side.rows_by_base
    ]
    answers = over_items(strata, clusters)
    if answers is None:
        return None
    recipes = [
        Stratum(np.stack([one.values.mean(axis=0) for one in strata if one.side == number]), sign, number)
        for number, sign in enumerate((1.0, -1.0))
    ]
    return NestedGap(
        answers=answers,
        bases=over_units_and_items(strata, clusters),
        recipes=over_units_and_items(recipes, clusters),
        components=_components(a, b, strata, recipes, kept),
        n_bases=(len(a.rows_by_base), len(b.rows_by_base)),
        n_runs=(len(a.scores), len(b.scores)),
        n_items=int(kept.sum()),
    )


def mean(side: Side, clusters: Clusters | None = None) -> tuple[Crossed, Crossed | None] | None:
    """A model's mean score: uncertain over items, and over items and runs; None for fewer than two items."""
    kept: NDArray[np.bool_] = np.asarray(~np.isnan(side.cells).any(axis=0))
    if clusters is not None:
        clusters = np.unique(clusters[kept], return_inverse=True)[1].astype(np.intp)
    strata = [Stratum(side.cells[rows][:, kept], 1 / len(side.rows_by_base)) for rows in side.rows_by_base]
    items = over_items(strata, clusters)
    return None if items is None else (items, over_units_and_items(strata, clusters))


def range_of_equals(k: int, standard_error: float, quantile: float = 0.95) -> float:
    """What k equal models' means spread over (largest minus smallest), in points: this quantile of the range.

    `standard_error` is that of one model's mean, independent of the others'. The range of normal values (Tippett 1925).
    """
    from scipy import stats

    return standard_error * float(stats.studentized_range.ppf(quantile, k, np.inf))


def _components(
    a: Side, b: Side, strata: Sequence[Stratum], recipes: Sequence[Stratum], kept: NDArray[np.bool_]
) -> Components:
    items = int(kept.sum())
    several = [one.values for one in strata if len(one.values) > 1]
    df = sum(len(values) - 1 for values in several)
    seed_item = seed = base = None
    if several:
        residuals = [v - v.mean(axis=1, keepdims=True) - v.mean(axis=0, keepdims=True) + v.mean() for v in several]
        seed_item = sum(float((one**2).sum()) for one in residuals) / (df * (items - 1))
        spread = sum((len(v) - 1) * float(v.mean(axis=1).var(ddof=1)) for v in several) / df
        seed = max(0.0, spread - seed_item / items)
    if any(one.spread is not None for one in recipes):
        free = sum(len(one.values) - 1 for one in recipes)
        spread = sum((len(one.values) - 1) * (one.spread or 0.0) for one in recipes) / free
        runs = len(strata) / sum(1 / len(one.values) for one in strata)  # harmonic mean of runs a base
        base = max(0.0, spread - ((seed or 0.0) + (seed_item or 0.0) / items) / runs)
    differences = recipes[0].values.mean(axis=0) - recipes[1].values.mean(axis=0)
    within = (seed_item or 0.0) * sum(one.weight**2 / len(one.values) for one in strata)
    model_item = max(0.0, float(differences.var(ddof=1)) - within) / 2
    repeat = _repeat(np.concatenate([a.scores, b.scores]))
    if seed_item is not None and repeat is not None:
        seed_item = max(0.0, seed_item - repeat / a.scores.shape[2])
    return Components(base, seed, model_item, seed_item, repeat)


def _repeat(scores: Floats) -> float | None:
    """Variance between the judge's repeats of one answer (runs, I, R); None where nothing was judged twice."""
    there = ~np.isnan(scores)
    count = there.sum(axis=2, keepdims=True)
    centre = np.where(there, scores, 0.0).sum(axis=2, keepdims=True) / np.maximum(count, 1)
    df = int((count - 1).clip(min=0).sum())
    return float((np.where(there, scores - centre, 0.0) ** 2).sum()) / df if df else None
