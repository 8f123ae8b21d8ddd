"""Which model's answers are better, by how much, and how sure that is: means and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from equiloss.errors import InputError
from equiloss.statistics import bootstrap, length_adjustment, missing, multiplicity, variance
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Interval
from equiloss.statistics.prediction_powered import PredictionPoweredMean
from equiloss.statistics.regression import standard_error
from judge.comparison import labelled, ranking
from judge.comparison.clusters import clusters_of
from judge.comparison.document import (
    CategoryScore,
    Comparison,
    Difference,
    LengthEffect,
    ModelScore,
    Needed,
    Strength,
    VarianceSplit,
)
from judge.data.control_answers import summarise
from judge.data.scores import Scores, choose_panel, scale_of
from judge.data.verdicts import Judged, Panel
from judge.labelling.label import Label, first_ratings, fitting

POWER = 0.8


@dataclass(frozen=True)
class Settings:
    """How to compare. `effect` is the difference worth finding, in points; None: a twentieth of the scale."""

    confidence: float = 0.95
    draws: int = bootstrap.DRAWS
    seed: int = 0
    pool_seeds: bool = True
    cluster: str | None = None
    effect: float | None = None


@dataclass(frozen=True)
class ModelValues:
    """A model's scores: `repeats` (S, I, R), one row per run; NaN where no score was given."""

    name: str
    runs: tuple[str, ...]
    repeats: Floats
    lengths: Floats

    @property
    def values(self) -> Floats:
        """Means over repeats, (S, I)."""
        return missing.present_mean(self.repeats, 2)

    def by_item(self) -> Floats:
        """Mean over runs, (I,); NaN where any run has no score."""
        return self.values.mean(axis=0)


@dataclass(frozen=True)
class _Table:
    """What all parts of a comparison share: models, means by model and item (M, I), items in common, clusters (I,)."""

    models: list[ModelValues]
    stacked: Floats
    common: NDArray[np.bool_]
    clusters: NDArray[np.intp]
    won: Floats  # (I, M, M)
    scale: Interval
    people: list[PredictionPoweredMean | None]
    settings: Settings

    def clustered(self, items: NDArray[np.bool_]) -> NDArray[np.intp] | None:
        """Clusters of these items, numbered from 0; None where every item stands alone."""
        kept, numbers = np.unique(self.clusters[items], return_inverse=True)
        return None if len(kept) == int(items.sum()) else numbers.astype(np.intp)


def compare(
    judged: Sequence[Judged],
    *,
    rubric: str | None = None,
    judge: str | None = None,
    criterion: str | None = None,
    confidence: float = 0.95,
    draws: int = bootstrap.DRAWS,
    seed: int = 0,
    pool_seeds: bool = True,
    cluster: str | None = None,
    effect: float | None = None,
    labels: Sequence[Label] = (),
) -> Comparison:
    """Means, paired differences and categories of the runs, on one panel.

    Items with the same question (ids that differ in a "-2", "-3", ...) are one cluster; with `cluster`, those that
    share the value of that field of the responses. With a person's `labels`, each model's mean and each gap are also
    estimated on the person's scale.
    Raises: InputError when they share no panel, or when no item was judged for all of them.
    """
    settings = Settings(confidence, draws, seed, pool_seeds, cluster, effect)
    panel = choose_panel(judged, rubric, judge)
    scores = Scores.of(judged, panel, criterion)
    models = by_model(judged, scores, pool_seeds=pool_seeds)
    clusters, scale = clusters_of(judged, scores.ids, cluster), scale_of(judged, panel)
    ratings = first_ratings(fitting(labels, panel.rubric, scale))
    people = [labelled.mean(one.runs, one.values, ratings, scores.ids, clusters, confidence) for one in models]
    stacked = np.stack([model.by_item() for model in models])  # (M, I)
    common: NDArray[np.bool_] = np.asarray(~np.isnan(stacked).any(axis=0))
    if not common.any():
        raise InputError(
            "no item has a score for every file", "judge the same items for all: `judge score` with all files"
        )
    won = ranking.preferences(judged, scores, panel)
    if won is None or len(models) < len(judged):
        won = ranking.outcomes(stacked)
    table = _Table(models, stacked, common, clusters, won, scale, people, settings)
    clustered = table.clustered(common)
    control = summarise([one for run in judged for one in run.control_answers_of(panel)], *scale)
    return Comparison.model_validate(
        {
            "rubric": panel.rubric,
            "judge": panel.judge,
            "is_llm": panel.is_llm,
            "criterion": scores.criterion,
            "confidence": confidence,
            "draws": draws,
            "seed": seed,
            "n_items": int(common.sum()),
            "n_items_any": len(scores.ids),
            "n_clusters": int(common.sum()) if clustered is None else int(clustered.max()) + 1,
            "n_repeats": scores.values.shape[2],
            "models": _models(judged, panel, table),
            "differences": _differences(table),
            "categories": _categories(table, scores.categories),
            "canaries": control["kinds"],
            "warnings": [
                *control["warnings"],
                *scores.warnings,
                *_warnings(scores, table, panel),
                *labelled.warnings([one.name for one in models], people, bool(labels)),
            ],
        }
    )


def by_model(judged: Sequence[Judged], scores: Scores, *, pool_seeds: bool = True) -> list[ModelValues]:
    """Scores of each model, its seeds as rows; with `pool_seeds` off every run is a model of its own."""
    rows: dict[str, list[int]] = {}
    for row, run in enumerate(judged):
        rows.setdefault(run.model if pool_seeds and run.seed is not None else run.generator, []).append(row)
    lengths = np.array(
        [[len(run.responses[key].output) if key in run.responses else np.nan for key in scores.ids] for run in judged]
    )
    return [
        ModelValues(
            name,
            tuple(scores.generators[row] for row in members),
            scores.values[members],
            lengths[members].mean(axis=0),
        )
        for name, members in rows.items()
    ]


def _models(judged: Sequence[Judged], panel: Panel, table: _Table) -> list[ModelScore]:
    settings, clustered = table.settings, table.clustered(table.common)
    shared = table.stacked[:, table.common]
    replicates = bootstrap.resampled_means(shared, settings.draws, settings.seed, clustered)
    strengths: list[tuple[float, Interval] | None] = [None] * len(table.models)
    if len(table.models) > 1:
        draws = min(settings.draws, 1000)
        strengths = ranking.strength_intervals(table.won, settings.confidence, draws, settings.seed)
    rows: list[ModelScore] = []
    for index, model in enumerate(table.models):
        own = table.stacked[index][~np.isnan(table.stacked[index])]
        if len(model.runs) > 1:
            kept = model.values[:, table.common]
            crossed = bootstrap.resampled_crossed_means([kept], settings.draws, settings.seed)[:, 0]
            interval = bootstrap.percentile(crossed, settings.confidence)
        elif clustered is not None:
            interval = bootstrap.percentile(replicates[:, index], settings.confidence)
        else:
            interval = bootstrap.bca(shared[index], replicates[:, index], settings.confidence)
        strength = strengths[index]
        rows.append(
            ModelScore(
                name=model.name,
                runs=list(model.runs),
                mean=float(shared[index].mean()),
                standard_error=standard_error(shared[index], clustered),
                interval=interval,
                n_scored=len(own),
                mean_scored=float(own.mean()) if len(own) else None,
                n_missing=table.stacked.shape[1] - len(own),
                bounds=missing.mean_bounds(table.stacked[index], table.scale),
                failures=_failures(judged, panel, model.runs),
                strength=Strength(value=strength[0], interval=strength[1]) if strength else None,
                human=labelled.estimate(table.people[index]),
            )
        )
    return rows


def _failures(judged: Sequence[Judged], panel: Panel, runs: Sequence[str]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for run in judged:
        for one in run.failures_of(panel) if run.generator in runs else ():
            counted[one.reason] = counted.get(one.reason, 0) + 1
    return dict(sorted(counted.items()))


def _differences(table: _Table) -> list[Difference]:
    settings = table.settings
    pairs = list(combinations(range(len(table.models)), 2))
    if not pairs:
        return []
    gaps = np.stack([table.stacked[a] - table.stacked[b] for a, b in pairs])  # (P, I)
    everything = np.ones(gaps.shape[1], dtype=np.bool_)
    clustered = table.clustered(everything)
    replicates = bootstrap.resampled_means(gaps, settings.draws, settings.seed, clustered)
    flipped = bootstrap.sign_flip_p(gaps, settings.draws, settings.seed, clustered)
    rows = [_difference(table, a, b, replicates[:, index], float(flipped[index])) for index, (a, b) in enumerate(pairs)]
    with_p = [index for index, row in enumerate(rows) if row.p is not None]
    corrected = multiplicity.holm([rows[index].p or 0.0 for index in with_p])
    for index, p in zip(with_p, corrected, strict=True):
        rows[index] = rows[index].model_copy(update={"p_holm": p, "significant": p < 1 - settings.confidence})
    return rows


def _difference(table: _Table, a: int, b: int, replicates: Floats, flipped: float) -> Difference:
    settings, left, right = table.settings, table.models[a], table.models[b]
    there: NDArray[np.bool_] = np.asarray(~np.isnan(table.stacked[a] - table.stacked[b]))
    gap = (table.stacked[a] - table.stacked[b])[there]
    if not len(gap):
        return Difference(
            a=left.name,
            b=right.name,
            n_items=0,
            difference=None,
            standard_error=None,
            interval=None,
            p=None,
            p_holm=None,
            significant=False,
            interval_percentile=None,
            wins=0,
            ties=0,
            losses=0,
            bounds=missing.difference_bounds(table.stacked[a], table.stacked[b], table.scale),
        )
    clustered = table.clustered(there)
    percentile = bootstrap.percentile(replicates, settings.confidence)
    split = variance.nested_gap(left.repeats, right.repeats)
    error, p = standard_error(gap, clustered), flipped
    interval = percentile if clustered is not None else bootstrap.bca(gap, replicates, settings.confidence)
    covers_seeds = split is not None and split.covers_seeds
    if split is not None and covers_seeds:
        crossed = bootstrap.resampled_crossed_means(
            [left.values[:, there], right.values[:, there]], settings.draws, settings.seed
        )
        percentile = bootstrap.percentile(crossed[:, 0] - crossed[:, 1], settings.confidence)
        error, p, interval = split.standard_error, split.p, split.interval(settings.confidence)
    wins = ranking.win_rate(np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0)))
    return Difference(
        a=left.name,
        b=right.name,
        n_items=len(gap),
        difference=split.difference if split is not None and covers_seeds else float(gap.mean()),
        standard_error=error,
        interval=interval,
        p=p,
        method="seeds and items" if covers_seeds else "items",
        p_holm=p,
        significant=False,
        interval_percentile=percentile,
        wins=wins.wins,
        ties=wins.ties,
        losses=wins.losses,
        win_rate=wins.rate,
        win_rate_standard_error=wins.standard_error,
        bounds=missing.difference_bounds(table.stacked[a], table.stacked[b], table.scale),
        length_adjusted=_length(table, a, b),
        variance=_split(split) if split else None,
        minimum_detectable=split.detectable(POWER, 1 - settings.confidence) if split else None,
        needed=_needed(split, table) if split else None,
        human=labelled.gap(table.people[a], table.people[b], table.settings.confidence, table.clusters),
    )


def _length(table: _Table, a: int, b: int) -> LengthEffect | None:
    found = length_adjustment.adjusted(
        table.stacked[a] - table.stacked[b],
        table.models[a].lengths,
        table.models[b].lengths,
        table.settings.confidence,
    )
    if found is None:
        return None
    return LengthEffect(
        difference=found.difference,
        interval=found.interval,
        slope=found.slope,
        slope_interval=found.slope_interval,
        mean_length_difference=found.mean_length_difference,
    )


def _split(split: variance.NestedGap) -> VarianceSplit:
    parts = split.components
    return VarianceSplit(
        seed=parts.seed,
        model_item=parts.model_item,
        seed_item=parts.seed_item,
        residual=parts.residual,
        shares=split.shares(),
        standard_error=split.standard_error,
        df=split.df,
        n_seeds=split.n_seeds,
        n_items=split.n_items,
        n_repeats=split.n_repeats,
    )


def _needed(split: variance.NestedGap, table: _Table) -> Needed:
    effect = table.settings.effect or (table.scale[1] - table.scale[0]) / 20
    found = split.needed(effect, POWER, 1 - table.settings.confidence)
    return Needed(effect=effect, items=found["items"], seeds=found["seeds"], repeats=found["repeats"])


def _categories(table: _Table, categories: Sequence[str | None]) -> list[CategoryScore]:
    settings = table.settings
    rows: list[CategoryScore] = []
    for category in sorted({one for one in categories if one is not None}):
        inside = table.common & np.array([one == category for one in categories])
        if not inside.any():
            continue
        values, clustered = table.stacked[:, inside], table.clustered(inside)
        replicates = bootstrap.resampled_means(values, settings.draws, settings.seed, clustered)
        intervals = {
            model.name: bootstrap.bca(values[i], replicates[:, i], settings.confidence)
            if clustered is None
            else bootstrap.percentile(replicates[:, i], settings.confidence)
            for i, model in enumerate(table.models)
        }
        means = {model.name: float(values[i].mean()) for i, model in enumerate(table.models)}
        rows.append(CategoryScore(category=category, n_items=int(inside.sum()), means=means, intervals=intervals))
    return rows


def _warnings(scores: Scores, table: _Table, panel: Panel) -> list[str]:
    warnings: list[str] = []
    if not panel.is_llm:
        warnings.append("the offline reference judge measures agreement with the reference answer; it is not an LLM")
    kept = int(table.common.sum())
    absent = len(scores.ids) - kept
    if absent:
        warnings.append(
            f"{absent} of {len(scores.ids)} items lack a score for some model and are left out of the means"
        )
    if kept < 20:
        warnings.append(f"only {kept} items in common: bootstrap intervals are too narrow for so few")
    seeds = [len(model.runs) for model in table.models]
    if len(seeds) > 1 and max(seeds) > 1 and min(seeds) == 1:
        alone = ", ".join(model.name for model in table.models if len(model.runs) == 1)
        warnings.append(f"{alone}: one seed only, so the spread over seeds is taken from the other models")
    return warnings
