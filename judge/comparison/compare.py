"""Which model's answers are better, by how much, and how sure that is: means and paired differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from equiloss.errors import InputError
from equiloss.statistics import bootstrap, length_adjustment, missing, multiplicity, prediction_powered
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Interval
from equiloss.statistics.nested import SideScores, nested_gap
from equiloss.statistics.prediction_powered import PredictionPoweredMean
from equiloss.statistics.regression import standard_error
from judge.comparison import ranking
from judge.comparison.clusters import clusters_of
from judge.comparison.document import (
    CategoryScore,
    Comparison,
    Difference,
    HumanEstimate,
    ModelScore,
    Needed,
    VarianceSplit,
)
from judge.data.control_answers import summarise
from judge.data.scores import Scores, choose_panel, scale_of
from judge.data.verdicts import Judged, Panel
from judge.labelling.label import Key, Label, first_ratings, fitting

POWER = 0.8


@dataclass(frozen=True)
class ModelValues:
    """A model's scores: `repeats` (S, I, R), one row per run; NaN where no score was given."""

    name: str
    runs: tuple[str, ...]
    repeats: Floats
    lengths: Floats
    bases: tuple[str | None, ...] = ()

    @property
    def side(self) -> SideScores:
        """The scores as the nested design takes them: runs of one base model, or of several."""
        return SideScores(self.repeats, self.bases)

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
    confidence: float
    draws: int
    seed: int
    effect: float

    def clustered(self, items: NDArray[np.bool_]) -> NDArray[np.intp] | None:
        """Clusters of these items, numbered from 0; None where every item stands alone."""
        kept, numbers = np.unique(self.clusters[items], return_inverse=True)
        return None if len(kept) == int(items.sum()) else numbers.astype(np.intp)

    def interval(self, values: Floats, replicates: Floats, clustered: NDArray[np.intp] | None) -> Interval:
        """The interval of a mean of values (I,) from its bootstrap replicates (draws,)."""
        if clustered is not None:
            return bootstrap.percentile(replicates, self.confidence)
        return bootstrap.bca(values, replicates, self.confidence)


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
    estimated on the person's scale. `effect` is the gap worth finding, in points; None: a twentieth of the scale.
    Raises: InputError when they share no panel, or when no item was judged for all of them.
    """
    panel = choose_panel(judged, rubric, judge)
    scores = Scores.of(judged, panel, criterion)
    models = by_model(judged, scores, pool_seeds=pool_seeds)
    clusters, scale = clusters_of(judged, scores.ids, cluster), scale_of(judged, panel)
    ratings = first_ratings(fitting(labels, panel.rubric, scale))
    people = [
        prediction_powered.mean(model.values, _labelled(model, scores.ids, ratings), confidence, clusters)
        for model in models
    ]
    stacked = np.stack([model.by_item() for model in models])  # (M, I)
    common: NDArray[np.bool_] = np.asarray(~np.isnan(stacked).any(axis=0))
    if not common.any():
        raise InputError(
            "no item has a score for every file", "judge the same items for all: `judge score` with all files"
        )
    won = ranking.preferences(judged, scores, panel) if len(models) == len(judged) else None
    won = ranking.outcomes(stacked) if won is None else won
    effect = effect or (scale[1] - scale[0]) / 20
    table = _Table(models, stacked, common, clusters, won, scale, people, confidence, draws, seed, effect)
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
                *_warnings(scores, table, panel, bool(labels)),
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
            tuple(judged[row].base for row in members),
        )
        for name, members in rows.items()
    ]


def _labelled(model: ModelValues, ids: Sequence[str], ratings: Mapping[Key, float]) -> Floats:
    """A person's ratings of a model's answers, (S, I); NaN where there is none."""
    return np.array([[ratings.get((run, id), np.nan) for id in ids] for run in model.runs])


def _models(judged: Sequence[Judged], panel: Panel, table: _Table) -> list[ModelScore]:
    clustered = table.clustered(table.common)
    shared = table.stacked[:, table.common]
    replicates = bootstrap.resampled_means(shared, table.draws, table.seed, clustered)
    strengths = ranking.strength_intervals(table.won, table.confidence, min(table.draws, 1000), table.seed)
    rows: list[ModelScore] = []
    for index, model in enumerate(table.models):
        own = table.stacked[index][~np.isnan(table.stacked[index])]
        interval = table.interval(shared[index], replicates[:, index], clustered)
        if len(model.runs) > 1:
            crossed = bootstrap.resampled_crossed_means([model.values[:, table.common]], table.draws, table.seed)
            interval = bootstrap.percentile(crossed[:, 0], table.confidence)
        failed = Counter(
            failure.reason for run in judged if run.generator in model.runs for failure in run.failures_of(panel)
        )
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
                failures=dict(sorted(failed.items())),
                strength=strengths[index],
                human=HumanEstimate.of(table.people[index]),
            )
        )
    return rows


def _differences(table: _Table) -> list[Difference]:
    pairs = list(combinations(range(len(table.models)), 2))
    if not pairs:
        return []
    gaps = np.stack([table.stacked[a] - table.stacked[b] for a, b in pairs])  # (P, I)
    everything = np.ones(gaps.shape[1], dtype=np.bool_)
    clustered = table.clustered(everything)
    replicates = bootstrap.resampled_means(gaps, table.draws, table.seed, clustered)
    flipped = bootstrap.sign_flip_p(gaps, table.draws, table.seed, clustered)
    rows = [_difference(table, a, b, replicates[:, index], float(flipped[index])) for index, (a, b) in enumerate(pairs)]
    adjusted = multiplicity.holm([row.p for row in rows])
    return [
        row.model_copy(update={"p_holm": p, "significant": p is not None and p < 1 - table.confidence})
        for row, p in zip(rows, adjusted, strict=True)
    ]


def _difference(table: _Table, a: int, b: int, replicates: Floats, flipped: float) -> Difference:
    left, right = table.models[a], table.models[b]
    present: NDArray[np.bool_] = np.asarray(~np.isnan(table.stacked[a] - table.stacked[b]))
    gap = (table.stacked[a] - table.stacked[b])[present]
    bounds = missing.difference_bounds(table.stacked[a], table.stacked[b], table.scale)
    if not len(gap):
        return Difference(a=left.name, b=right.name, n_items=0, bounds=bounds)
    clustered, confidence = table.clustered(present), table.confidence
    split = nested_gap(left.side, right.side, table.clusters)
    measured = split.best if split is not None and (split.bases or split.recipes) else None
    if measured:
        sides = [left.values[:, present], right.values[:, present]]
        crossed = bootstrap.resampled_crossed_means(sides, table.draws, table.seed)
        replicates = crossed[:, 0] - crossed[:, 1]
    wins = ranking.win_rate(np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0)))
    longer = length_adjustment.adjusted(table.stacked[a] - table.stacked[b], left.lengths, right.lengths, confidence)
    one, other = table.people[a], table.people[b]
    human = prediction_powered.gap(one, other, confidence, table.clusters) if one and other else None
    return Difference(
        a=left.name,
        b=right.name,
        n_items=len(gap),
        difference=measured.value if measured else float(gap.mean()),
        standard_error=measured.standard_error if measured else standard_error(gap, clustered),
        interval=measured.interval(confidence) if measured else table.interval(gap, replicates, clustered),
        p=measured.p if measured else flipped,
        method="seeds and items" if measured else "items",
        interval_percentile=bootstrap.percentile(replicates, confidence),
        wins=wins.wins,
        ties=wins.ties,
        losses=wins.losses,
        win_rate=wins.rate,
        win_rate_standard_error=wins.standard_error,
        bounds=bounds,
        length_adjusted=longer,
        variance=VarianceSplit.of(split),
        minimum_detectable=split.detectable(POWER, 1 - confidence) if split else None,
        needed=Needed(effect=table.effect, **split.needed(table.effect, POWER, 1 - confidence)) if split else None,
        human=human,
    )


def _categories(table: _Table, categories: Sequence[str | None]) -> list[CategoryScore]:
    rows: list[CategoryScore] = []
    for category in sorted({one for one in categories if one is not None}):
        inside = table.common & np.array([one == category for one in categories])
        if not inside.any():
            continue
        values, clustered = table.stacked[:, inside], table.clustered(inside)
        replicates = bootstrap.resampled_means(values, table.draws, table.seed, clustered)
        names = [model.name for model in table.models]
        intervals = [table.interval(values[i], replicates[:, i], clustered) for i in range(len(names))]
        rows.append(
            CategoryScore(
                category=category,
                n_items=int(inside.sum()),
                means=dict(zip(names, map(float, values.mean(axis=1)), strict=True)),
                intervals=dict(zip(names, intervals, strict=True)),
            )
        )
    return rows


def _warnings(scores: Scores, table: _Table, panel: Panel, labels_given: bool) -> list[str]:
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
    alone = [model.name for model in table.models if len(model.runs) == 1]
    if alone and len(alone) < len(table.models):
        warnings.append(f"{', '.join(alone)}: one seed only, so the spread over seeds is taken from the other models")
    bare = [model.name for model, person in zip(table.models, table.people, strict=True) if person is None]
    if labels_given and bare:
        few = f"fewer than {prediction_powered.FEWEST_LABELS} labelled answers, so no human estimate"
        warnings.append(f"{', '.join(bare)}: {few}")
    return warnings
