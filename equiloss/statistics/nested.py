"""The gap between two models, asked three ways: of these answers, of these base models, of these recipes.

A side has base runs, each fine-tuned with one or more seeds; all answer the same items, perhaps judged repeatedly.

- *answers*: do these two sets of answers differ? Uncertain over items (and the judge's repeats, which lie in them).
- *bases*: would other fine-tunings of these base models differ likewise? The unit is the fine-tuning run.
- *recipes*: would other pretraining runs differ likewise? The unit is the base run; where both sides start from the
  same base runs, what a base does to both cancels, and the unit is the difference on a base.

A question is answered only where its unit varies in the data (on one side at least); `assumed_spread` says what an
assumed spread would make of it. The value is the same for all three: bases of a side count alike, and so do the runs
of a base. A missing score is filled in by its run and its item; an item that a side lacks altogether is left out on
both.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.crossed import Clusters, Crossed, Stratum, complete, over_items, over_units_and_items
from equiloss.statistics.estimate import CONFIDENCE
from equiloss.statistics.missing import present_mean

LIMIT = 1_000_000


@dataclass(frozen=True)
class SideScores:
    """One side's scores (S, I, R) by run, item and repeat, NaN where none was given.

    `bases` (S,) names the base of each run. Without `bases` all runs come from one base model. A run without any score
    does not count.
    """

    scores: Floats
    bases: tuple[Hashable, ...] = ()

    @cached_property
    def scored(self) -> NDArray[np.intp]:
        """The runs that have a score."""
        return np.flatnonzero(~np.isnan(self.scores).all(axis=(1, 2)))

    @cached_property
    def cells(self) -> Floats:
        """Means over repeats (S, I) of the runs that have scores, missing cells filled in; NaN where no run has any."""
        return complete(present_mean(self.scores[self.scored], 2))

    @cached_property
    def rows_of(self) -> dict[Hashable, list[int]]:
        """The rows of `cells` of each base, in the order of their first."""
        rows: dict[Hashable, list[int]] = {}
        for row, run in enumerate(self.scored):
            rows.setdefault(self.bases[run] if self.bases else None, []).append(row)
        return rows

    @cached_property
    def by_item(self) -> Floats:
        """Mean over the runs of a base and over bases (I,), missing cells filled in; NaN where no run has a score."""
        every = np.ones(self.scores.shape[1], dtype=np.bool_)
        start = np.full(len(every), 0.0 if len(self.cells) else np.nan)
        return np.asarray(sum((one.weight * one.values.mean(axis=0) for one in self.strata(every)), start))

    def strata(self, kept: NDArray[np.bool_], weight: float = 1.0, side: int = 0) -> list[Stratum]:
        """The runs of each base on the items `kept` (I,): a stratum a base, all together of this weight."""
        bases = self.rows_of.values()
        return [Stratum(self.cells[rows][:, kept], weight / len(bases), side) for rows in bases]


@dataclass(frozen=True)
class NestedGap:
    """A's mean minus B's with its uncertainty by question, and the variance components of single scores.

    `bases`, `recipes`: None where the question's unit was not varied. Components are in squared points, None where the
    design cannot tell: `base` between base runs of a recipe, `seed` between fine-tunings of a base, `model_item` what
    an item is worth more to one side than to the other, `seed_item` what a run makes of an item (with one repeat the
    judge's noise too), `residual` between the judge's repeats. `n_seeds` are the runs of A and of B.
    """

    answers: Crossed
    bases: Crossed | None
    recipes: Crossed | None
    base: float | None
    seed: float | None
    model_item: float
    seed_item: float
    residual: float | None
    n_bases: tuple[int, int]
    n_seeds: tuple[int, int]
    n_items: int
    n_repeats: int

    @property
    def best(self) -> Crossed:
        """The gap with the uncertainty of the highest unit that was varied: base runs, else runs, else items alone."""
        return self.recipes or self.bases or self.answers

    @property
    def standard_error(self) -> float:
        """Standard error of the gap (see `best`)."""
        return self.best.standard_error

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of the gap (see `best`)."""
        return self.best.df

    @property
    def seeds(self) -> float:
        """The harmonic mean of the two numbers of runs."""
        return 2 / sum(1 / n for n in self.n_seeds)

    @property
    def shares(self) -> dict[str, float]:
        """The part of Var(gap) that each source makes, summing to 1; empty when nothing varies."""
        parts = self._parts(self.seeds, self.n_items, self.n_repeats)
        total = sum(parts.values())
        return {name: part / total for name, part in parts.items()} if total > 0 else {}

    def detectable(
        self,
        power: float = 0.8,
        alpha: float = 0.05,
        *,
        seeds: float | None = None,
        items: int | None = None,
        repeats: int | None = None,
    ) -> float:
        """The smallest true gap that the two-sided test finds with this power: (t_(1-alpha/2) + t_power) x s.e.

        For a design other than that at hand: the gap whose power is this on average over what the spread between seeds
        may be, by as many degrees of freedom as measured it; with one repeat at hand more repeats are not credited.
        Source: Bloom (1995), Minimum detectable effects; with Student's t as in Dong & Maynard (2013).
        """
        from scipy import optimize
        from scipy.special import stdtrit

        if seeds is items is repeats is None:
            t = stdtrit(self.df, 1 - alpha / 2) + stdtrit(self.df, power)
            return float(t) * self.standard_error
        design = self._design(seeds, items, repeats)
        spreads, high = self._spreads(), 1e-9
        while self._power(high, alpha, design, spreads) < power:
            high *= 2
        return float(optimize.brentq(lambda gap: self._power(gap, alpha, design, spreads) - power, 0, high, xtol=1e-6))

    def needed(self, effect: float, power: float = 0.8, alpha: float = 0.05) -> dict[str, int | None]:
        """How many items, seeds or repeats, changing one alone, would make `effect` detectable; None: no number would.

        Seeds: with this power on average over what their spread may be. Items and repeats cannot make up for seeds that
        vary: with this power even where the spread between seeds lies at its upper 90 % bound. Seeds and repeats are
        None too where the design at hand cannot tell what they are worth.
        """
        average, bound = self._spreads(), self._spreads(upper=0.9)

        def least(name: str, spreads: Floats, first: int) -> int | None:
            return _least(lambda n: self._power(effect, alpha, self._design(**{name: n}), spreads) >= power, first)

        return {
            "items": least("items", bound, 2),
            "seeds": least("seeds", average, 2) if self.seed is not None else None,
            "repeats": least("repeats", bound, 1) if self.residual is not None else None,
        }

    def assumed_spread(self, seed_sd: float, base_sd: float = 0.0, df: float = math.inf) -> Crossed:
        """The gap's uncertainty if runs of a base had this SD, and bases of a recipe that one (in points, over `df`).

        For what was not varied; the spread over items stays as measured.
        """
        runs, bases = (sum(1 / n for n in counts) for counts in (self.n_seeds, self.n_bases))
        return replace(self.answers, units=seed_sd**2 * runs + base_sd**2 * bases, both=0.0, df_units=min(df, 1e9))

    def spread_of_chance(self, confidence: float = CONFIDENCE) -> float:
        """How large the SD between fine-tuning runs of one base would have to be for this gap to be chance, in points.

        The SD at which the interval over items and runs just reaches 0; 0 where the interval over items holds 0.
        """
        from scipy.special import ndtri

        z = float(ndtri((1 + confidence) / 2))
        left = (self.answers.value / z) ** 2 - self.answers.items
        return math.sqrt(max(0.0, left) / sum(1 / n for n in self.n_seeds))

    def _design(
        self, seeds: float | None = None, items: int | None = None, repeats: int | None = None
    ) -> tuple[float, int, int]:
        return seeds or self.seeds, items or self.n_items, repeats or self.n_repeats

    def _spreads(self, upper: float | None = None) -> Floats:
        """What the variance between seeds may be beside its estimate, as factors: even quantiles, or an upper bound."""
        from scipy.special import chdtri

        df = sum(self.n_seeds) - sum(self.n_bases)
        if self.seed is None or df < 1:
            return np.ones(1)
        return df / chdtri(df, 1 - (np.arange(32) + 0.5) / 32 if upper is None else np.array([upper]))

    def _power(self, effect: float, alpha: float, design: tuple[float, int, int], spreads: Floats) -> float:
        """How often a true gap of this size is found, on average over the spreads between seeds (noncentral t)."""
        from scipy.special import nctdtr, stdtrit

        own = (self.seed_item + (self.residual or 0.0) / self.n_repeats) / self.n_items
        seeds = [None if self.seed is None else max(0.0, (self.seed + own) * by - own) for by in spreads]
        splits = [replace(self, seed=seed) for seed in seeds]
        errors = np.array([math.sqrt(sum(split._parts(*design).values())) for split in splits])
        df = np.array([split._df(*design) for split in splits])
        off = np.minimum(effect / np.maximum(errors, 1e-300), 30.0)  # further off nothing is missed
        return float(np.mean(1 - nctdtr(np.minimum(df, 1e4), off, stdtrit(df, 1 - alpha / 2))))

    def _parts(self, seeds: float, items: int, repeats: int) -> dict[str, float]:
        """The parts of Var(gap) for a design of one base a side."""
        return {
            "seed": 2 * (self.seed or 0.0) / seeds,
            "model_item": 2 * self.model_item / items,
            "seed_item": 2 * self.seed_item / (items * seeds),
            "residual": 2 * (self.residual or 0.0) / (items * seeds * repeats),
        }

    def _df(self, seeds: float, items: int, repeats: int) -> float:
        """Satterthwaite's degrees of freedom if the components were as estimated, for another design."""
        parts = self._parts(seeds, items, repeats)
        total = sum(parts.values())
        within = parts["seed_item"] + parts["residual"]
        squares = (parts["model_item"] + within) ** 2 / max(1, items - 1)
        if self.seed is not None:
            squares += (parts["seed"] + within) ** 2 / max(1.0, 2 * (seeds - 1))
        return min(max(1.0, total**2 / squares), 1e9) if squares > 0 else 1e9


def nested_gap(a: SideScores, b: SideScores, clusters: Clusters | None = None) -> NestedGap | None:
    """The gap A minus B over the items (I,) that both sides have; `clusters` (I,) numbers items that go together.

    None for fewer than two such items (or clusters).
    """
    if not (len(a.cells) and len(b.cells)):
        return None
    kept: NDArray[np.bool_] = np.asarray(~(np.isnan(a.cells).any(axis=0) | np.isnan(b.cells).any(axis=0)))
    clusters = renumbered(clusters, kept)
    strata = [*a.strata(kept, 1.0), *b.strata(kept, -1.0, 1)]
    answers = over_items(strata, clusters)
    if answers is None:
        return None
    recipes = by_base(strata)
    return NestedGap(
        answers=answers,
        bases=over_units_and_items(strata, clusters),
        recipes=over_units_and_items(_on_shared_bases(a, b, recipes) or recipes, clusters),
        **_components(strata, recipes, _residual(a, b), a.scores.shape[2]),
        n_bases=(len(a.rows_of), len(b.rows_of)),
        n_seeds=(len(a.cells), len(b.cells)),
        n_items=int(kept.sum()),
        n_repeats=a.scores.shape[2],
    )


def _on_shared_bases(a: SideScores, b: SideScores, recipes: Sequence[Stratum]) -> list[Stratum]:
    """A minus B on each base run (see `by_base`), where both sides start from the same ones; else nothing."""
    if set(a.rows_of) != set(b.rows_of) or None in a.rows_of:
        return []
    order = [list(b.rows_of).index(base) for base in a.rows_of]
    return [Stratum(recipes[0].values - recipes[1].values[order], 1.0)]


def by_base(strata: Sequence[Stratum]) -> list[Stratum]:
    """The strata of runs as one stratum of base runs for each side."""
    return [
        Stratum(np.stack([one.values.mean(axis=0) for one in own]), sum(one.weight for one in own), own[0].side)
        for own in ([one for one in strata if one.side == side] for side in sorted({one.side for one in strata}))
    ]


def highest(strata: list[Stratum]) -> list[Stratum]:
    """The strata by the highest unit that was varied: base runs, else runs."""
    recipes = by_base(strata)
    return recipes if any(len(one.values) > 1 for one in recipes) else strata


def nested_mean(side: SideScores, clusters: Clusters | None = None) -> tuple[Crossed, Crossed | None] | None:
    """A model's mean score: uncertain over items, and over items and the highest unit that was varied.

    None for fewer than two items.
    """
    kept: NDArray[np.bool_] = np.asarray(~np.isnan(side.cells).any(axis=0))
    clusters = renumbered(clusters, kept)
    strata = highest(side.strata(kept))
    items = over_items(strata, clusters)
    return None if items is None else (items, over_units_and_items(strata, clusters))


def renumbered(clusters: Clusters | None, kept: NDArray[np.bool_]) -> Clusters | None:
    """The clusters of the items `kept` (I,), numbered from 0; None where every item stands alone."""
    if clusters is None:
        return None
    names, numbers = np.unique(clusters[kept], return_inverse=True)
    return None if len(names) == len(numbers) else numbers.astype(np.intp)


def range_of_equals(k: int, standard_error: float, quantile: float = 0.95) -> float:
    """What k equal models' means spread over (largest minus smallest), in points: this quantile of the range.

    `standard_error` is that of one model's mean, independent of the others'. The range of normal values (Tippett 1925).
    """
    from scipy import stats

    return standard_error * float(stats.studentized_range.ppf(quantile, k, np.inf))


def chance_of_range(k: int, standard_error: float, observed: float) -> float:
    """How often k equal models' means spread over as much as was `observed`, or more (see `range_of_equals`)."""
    from scipy import stats

    if standard_error == 0:
        return 0.0 if observed > 0 else 1.0
    return float(stats.studentized_range.sf(observed / standard_error, k, np.inf))


class _Components(TypedDict):
    base: float | None
    seed: float | None
    model_item: float
    seed_item: float
    residual: float | None


def _components(
    strata: Sequence[Stratum], recipes: Sequence[Stratum], residual: float | None, repeats: int
) -> _Components:
    """Variance components from mean squares (Searle, Casella & McCulloch, Variance Components, 1992, chapter 4)."""
    items = strata[0].values.shape[1]
    several = [one.values for one in strata if len(one.values) > 1]
    within, seed, base = residual / repeats if residual is not None else 0.0, None, None
    if several:
        df = sum(len(values) - 1 for values in several)
        left = [v - v.mean(axis=1, keepdims=True) - v.mean(axis=0, keepdims=True) + v.mean() for v in several]
        within = sum(float((one**2).sum()) for one in left) / (df * (items - 1))
        spread = sum((len(v) - 1) * float(v.mean(axis=1).var(ddof=1)) for v in several) / df
        seed = max(0.0, spread - within / items)
    if any(one.spread is not None for one in recipes):
        df = sum(len(one.values) - 1 for one in recipes)
        spread = sum((len(one.values) - 1) * (one.spread or 0.0) for one in recipes) / df
        runs = len(strata) / sum(1 / len(one.values) for one in strata)  # harmonic mean of runs a base
        base = max(0.0, spread - ((seed or 0.0) + within / items) / runs)
    differences = recipes[0].values.mean(axis=0) - recipes[1].values.mean(axis=0)
    own = within * sum(one.weight**2 / len(one.values) for one in strata)
    return {
        "base": base,
        "seed": seed,
        "model_item": max(0.0, float(differences.var(ddof=1)) - own) / 2,
        "seed_item": max(0.0, within - (residual or 0.0) / repeats) if several else 0.0,
        "residual": residual,
    }


def _residual(a: SideScores, b: SideScores) -> float | None:
    """Variance between the judge's repeats of one answer, without what a repeat of an item does to all runs alike.

    Answers judged in one prompt share a part of the noise, which cancels from their difference. None without repeats.
    """
    scores = np.concatenate([a.scores, b.scores])  # (S, I, R)
    runs, _, repeats = scores.shape
    if repeats < 2:
        return None
    centred = scores - present_mean(scores, 2)[:, :, None]
    if runs > 1:
        centred = centred - present_mean(centred)[None]
    present = ~np.isnan(centred)
    df = (
        float((present.sum(axis=2) - 1).clip(min=0).sum()) * (runs - 1) / runs
        if runs > 1
        else float((present.sum(axis=2) - 1).clip(min=0).sum())
    )
    return float((np.where(present, centred, 0.0) ** 2).sum()) / df if df > 0 else None


def _least(enough: Callable[[int], bool], first: int) -> int | None:
    """The least number that is enough: doubling, then bisection."""
    high = first
    while not enough(high):
        if high >= LIMIT:
            return None
        high = min(LIMIT, high * 2)
    return bisect_left(range(high), True, lo=first, key=enough)
