"""Which model's answers are better, by how much, and how sure that is: means and paired differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equiloss.errors import InputError
from equiloss.records.noise import Spread
from equiloss.statistics import bootstrap, length_adjustment, missing, multiplicity, prediction_powered
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.crossed import Clusters, Crossed
from equiloss.statistics.estimate import Interval
from equiloss.statistics.nested import (
    NestedGap,
    SideScores,
    chance_of_range,
    nested_gap,
    nested_mean,
    range_of_equals,
    renumbered,
)
from equiloss.statistics.prediction_powered import PredictionPoweredMean
from judge.comparison import ranking
from judge.comparison.assumed import assumed
from judge.comparison.clusters import clusters_of
from judge.comparison.document import (
    CategoryScore,
    Comparison,
    Difference,
    EqualModels,
    HumanEstimate,
    ModelScore,
    Needed,
    VarianceSplit,
    WithNoise,
)
from judge.data.anchors import check_one_judging
from judge.data.control_answers import summarise
from judge.data.scores import Scores, are_preferences, choose_panel, scale_of
from judge.data.verdicts import NOT_AN_LLM, Judged, Panel
from judge.labelling.label import Key, Label, first_ratings, fitting

POWER = 0.8
_OF_JUDGINGS = (
    "intervals are over judgings of the same answers: how far the judge repeats itself; what other items, fine-tunings "
    "or base runs would do, such a table does not say"
)


@dataclass(frozen=True)
class ModelValues:
    """A model's scores: `repeats` (S, I, R), one row per run; NaN where no score was given."""

    name: str
    runs: tuple[str, ...]
    repeats: Floats
    lengths: Floats
    bases: tuple[str | None, ...] = ()

    @cached_property
    def side(self) -> SideScores:
        """The scores as the nested design takes them: runs of one base model, or of several."""
        return SideScores(self.repeats, self.bases)

    @property
    def values(self) -> Floats:
        """Means over repeats, (S, I)."""
        return missing.present_mean(self.repeats, 2)

    def on(self, items: NDArray[np.bool_], clusters: Clusters | None) -> Crossed | None:
        """The mean on some items (I,) with the uncertainty of the highest unit that was varied."""
        over = nested_mean(SideScores(self.repeats[:, items], self.bases), renumbered(clusters, items))
        return (over[1] or over[0]) if over else None


@dataclass(frozen=True)
class _Table:
    """What all parts of a comparison share: models, means by model and item (M, I), items in common, clusters (I,)."""

    models: list[ModelValues]
    stacked: Floats
    common: NDArray[np.bool_]
    clusters: Clusters | None  # (I,); None where every item stands alone
    won: Floats  # (I, M, M)
    paired: bool  # whether `won` is of single preferences, not of the models' runs
    scale: Interval
    people: list[PredictionPoweredMean | None]
    confidence: float
    draws: int
    seed: int
    effect: float
    noise: Spread | None


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
    noise: Spread | None = None,
    mixed: bool = False,
    unit: Literal["items", "judgings"] = "items",
    scores: Scores | None = None,
) -> Comparison:
    """Means, paired differences and categories of the runs, on one panel.

    Items with the same question (ids that differ in a "-2", "-3", ...) are one cluster; with `cluster`, those that
    share the value of that field of the responses. With a person's `labels`, each model's mean and each gap are also
    estimated on the person's scale. `effect` is the gap worth finding, in points; None: a twentieth of the scale.
    `noise`: what a ledger says of the spread between seeds and base runs. `mixed`: versions of the judge may differ,
    with a warning. `unit`: what stands in the place of items. `scores`: theirs, where they were gathered before.
    Raises: InputError when they share no panel, when versions of the judge are mixed, or when no item was judged for
    all of them.
    """
    panel = choose_panel(judged, rubric, judge)
    if not mixed:
        check_one_judging(judged, panel)
    scores = scores or Scores.of(judged, panel, criterion)
    models = by_model(judged, scores, pool_seeds=pool_seeds)
    clusters, scale = clusters_of(judged, scores.ids, cluster), scale_of(judged, panel)
    clusters = renumbered(clusters, np.ones(len(clusters), dtype=np.bool_))
    people = _people(judged, models, scores, clusters, first_ratings(fitting(labels, panel.rubric, scale)), confidence)
    stacked = np.stack([model.side.by_item for model in models])  # (M, I)
    common: NDArray[np.bool_] = np.asarray(~np.isnan(stacked).any(axis=0))
    if not common.any():
        raise InputError(
            "no item has a score for every file", "judge the same items for all: `judge score` with all files"
        )
    won = ranking.preferences(judged, scores, panel) if len(models) == len(judged) else None
    paired = won is not None
    won = ranking.run_outcomes([model.values for model in models]) if won is None else won
    effect = effect or (scale[1] - scale[0]) / 20
    table = _Table(
        models, stacked, common, clusters, won, paired, scale, people, confidence, draws, seed, effect, noise
    )
    clustered = renumbered(clusters, common)
    control = summarise([one for run in judged for one in run.control_answers_of(panel)], *scale)
    return Comparison.model_validate(
        {
            "rubric": panel.rubric,
            "judge": panel.judge,
            "is_llm": panel.is_llm,
            "criterion": scores.criterion,
            "unit": unit,
            "confidence": confidence,
            "draws": draws,
            "seed": seed,
            "n_items": int(common.sum()),
            "n_items_any": len(scores.ids),
            "n_clusters": int(common.sum()) if clustered is None else int(clustered.max()) + 1,
            "n_repeats": scores.values.shape[2],
            "models": _models(judged, panel, table),
            "differences": (differences := _differences(table)),
            "equal_models": _equal_models(table, differences),
            "categories": _categories(table, scores.categories),
            "canaries": control["kinds"],
            "warnings": [
                *control["warnings"],
                *scores.warnings,
                *(_warnings(scores, table, panel, bool(labels)) if unit == "items" else [_OF_JUDGINGS]),
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


def _people(
    judged: Sequence[Judged],
    models: Sequence[ModelValues],
    scores: Scores,
    clusters: Clusters | None,
    ratings: Mapping[Key, float],
    confidence: float,
) -> list[PredictionPoweredMean | None]:
    """What people would give each model, by their ratings of some of its answers, or of some of its comparisons."""
    if ratings and are_preferences(line for run in judged for line in run.verdicts_of(scores.panel)):
        pairs = Scores.of(judged, scores.panel, by_pair=True)
        place = {item: index for index, item in enumerate(scores.ids)}
        of_item = np.arange(len(place)) if clusters is None else clusters
        clusters = of_item[[place[item] for item in pairs.items]]
        rows = {name: index for index, name in enumerate(scores.generators)}
        values = [missing.present_mean(pairs.values[[rows[run] for run in model.runs]], 2) for model in models]
        scores = pairs
    else:
        values = [model.values for model in models]
    both = [(given, _labelled(model, scores.ids, ratings)) for model, given in zip(models, values, strict=True)]
    weight = prediction_powered.common_weight(both)
    return [prediction_powered.mean(given, human, confidence, clusters, weight) for given, human in both]


def _labelled(model: ModelValues, ids: Sequence[str], ratings: Mapping[Key, float]) -> Floats:
    """A person's ratings of a model's answers, (S, I); NaN where there is none."""
    return np.array([[ratings.get((run, id), np.nan) for id in ids] for run in model.runs])


def _models(judged: Sequence[Judged], panel: Panel, table: _Table) -> list[ModelScore]:
    runs = None if table.paired else [model.values for model in table.models]
    strengths = ranking.strength_intervals(table.won, runs, table.clusters, table.confidence)
    rows: list[ModelScore] = []
    for index, model in enumerate(table.models):
        whole = model.values.mean(axis=0)  # NaN where any run has no score
        own, mean = whole[~np.isnan(whole)], model.on(table.common, table.clusters)
        failed = Counter(
            failure.reason for run in judged if run.generator in model.runs for failure in run.failures_of(panel)
        )
        rows.append(
            ModelScore(
                name=model.name,
                runs=list(model.runs),
                mean=float(table.stacked[index, table.common].mean()),
                standard_error=mean.standard_error if mean else None,
                interval=mean.interval(table.confidence) if mean else None,
                n_scored=len(own),
                mean_scored=float(own.mean()) if len(own) else None,
                n_missing=len(whole) - len(own),
                bounds=missing.mean_bounds(model.values, table.scale),
                failures=dict(sorted(failed.items())),
                strength=strengths[index],
                human=HumanEstimate.of(table.people[index]),
            )
        )
    return rows


def _differences(table: _Table) -> list[Difference]:
    rows = [_difference(table, a, b) for a, b in combinations(range(len(table.models)), 2)]
    adjusted = multiplicity.holm([row.p if row.method == "seeds and items" else None for row in rows])
    return [
        row.model_copy(update={"p_holm": p, "significant": p is not None and p < 1 - table.confidence})
        for row, p in zip(rows, adjusted, strict=True)
    ]


def _difference(table: _Table, a: int, b: int) -> Difference:
    left, right = table.models[a], table.models[b]
    gaps = table.stacked[a] - table.stacked[b]
    gap, confidence = gaps[~np.isnan(gaps)], table.confidence
    bounds = missing.difference_bounds(left.values, right.values, table.scale)
    if not len(gap):
        return Difference(a=left.name, b=right.name, n_items=0, bounds=bounds)
    split = nested_gap(left.side, right.side, table.clusters)
    measured = split if split and (split.bases or split.recipes) else None
    wins = ranking.win_rate(np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0)))
    longer = left.lengths - right.lengths
    one, other = table.people[a], table.people[b]
    human = prediction_powered.gap(one, other, confidence, table.clusters) if one and other else None
    return Difference(
        a=left.name,
        b=right.name,
        n_items=len(gap),
        difference=float(gap.mean()),
        standard_error=split.standard_error if split else None,
        interval=split.best.interval(confidence) if split else None,
        interval_items=split.answers.interval(confidence) if split else None,
        p=split.best.p if split else None,
        method="seeds and items" if measured else "items",
        interval_percentile=_percentile(table, left, right, gaps),
        wins=wins.wins,
        ties=wins.ties,
        losses=wins.losses,
        win_rate=wins.rate,
        win_rate_standard_error=wins.standard_error,
        bounds=bounds,
        length_adjusted=length_adjustment.adjusted(left.side, right.side, longer, table.clusters, confidence),
        variance=VarianceSplit.of(split),
        chance_seed_sd=split.spread_of_chance(confidence) if split and not measured else None,
        with_noise=_with_noise(split, table.noise, confidence) if split and table.noise else None,
        minimum_detectable=measured.detectable(POWER, 1 - confidence) if measured else None,
        needed=Needed(effect=table.effect, **measured.needed(table.effect, POWER, 1 - confidence))
        if measured
        else None,
        human=human,
    )


def _with_noise(split: NestedGap, noise: Spread, confidence: float) -> WithNoise:
    """The intervals of the questions whose unit did not vary here, with the ledger's spread."""
    bases, recipes = assumed(split, noise)
    return WithNoise(
        bases=bases and bases.interval(confidence),
        recipes=recipes and recipes.interval(confidence),
        seed_sd=noise.seed_sd,
        base_sd=noise.base_sd,
    )


def _percentile(table: _Table, left: ModelValues, right: ModelValues, gaps: Floats) -> Interval:
    """The gap's percentile bootstrap interval, over items (or clusters), and over runs where there are several."""
    present: NDArray[np.bool_] = np.asarray(~np.isnan(gaps))
    if max(len(left.side.cells), len(right.side.cells)) > 1:
        sides = [model.side.cells[:, present] for model in (left, right)]
        crossed = bootstrap.resampled_crossed_means(sides, table.draws, table.seed)
        return bootstrap.percentile(crossed[:, 0] - crossed[:, 1], table.confidence)
    clusters = renumbered(table.clusters, present)
    replicates = bootstrap.resampled_means(gaps[None, present], table.draws, table.seed, clusters)
    return bootstrap.percentile(replicates[:, 0], table.confidence)


def _equal_models(table: _Table, differences: Sequence[Difference]) -> EqualModels | None:
    """What as many equal models would spread over, from the mean variance of the gaps; None for fewer than three."""
    errors = [row.standard_error for row in differences if row.standard_error is not None]
    if len(table.models) < 3 or len(errors) < len(differences):
        return None
    means, k = table.stacked[:, table.common].mean(axis=1), len(table.models)
    error, observed = float(np.sqrt(np.mean(np.square(errors)) / 2)), float(np.ptp(means))
    over_seeds = all(row.method == "seeds and items" for row in differences)
    return EqualModels(
        n_models=k,
        observed=observed,
        expected=range_of_equals(k, error, 0.5),
        largest=range_of_equals(k, error, table.confidence),
        chance=chance_of_range(k, error, observed),
        unit="seeds and items" if over_seeds else "items",
    )


def _categories(table: _Table, categories: Sequence[str | None]) -> list[CategoryScore]:
    rows: list[CategoryScore] = []
    for category in sorted({one for one in categories if one is not None}):
        inside = table.common & np.array([one == category for one in categories])
        if not inside.any():
            continue
        names = [model.name for model in table.models]
        means = [model.on(inside, table.clusters) for model in table.models]
        rows.append(
            CategoryScore(
                category=category,
                n_items=int(inside.sum()),
                means=dict(zip(names, map(float, table.stacked[:, inside].mean(axis=1)), strict=True)),
                intervals={
                    name: mean and mean.interval(table.confidence) for name, mean in zip(names, means, strict=True)
                },
            )
        )
    return rows


def _warnings(scores: Scores, table: _Table, panel: Panel, labels_given: bool) -> list[str]:
    warnings: list[str] = []
    if not panel.is_llm:
        warnings.append(NOT_AN_LLM)
    kept = int(table.common.sum())
    absent = len(scores.ids) - kept
    if absent:
        warnings.append(
            f"{absent} of {len(scores.ids)} items lack a score for some model and are left out of the means"
        )
    if kept < 20:
        warnings.append(f"only {kept} items in common: intervals cannot be trusted with so few")
    alone = [model.name for model in table.models if len(model.runs) == 1]
    if len(alone) == len(table.models) > 1:
        warnings.append(
            "one fine-tuning seed a model: intervals are over items alone and speak of these very answers; "
            "what another seed would do was not measured"
        )
    elif alone and len(table.models) > 1:
        warnings.append(f"{', '.join(alone)}: one seed only, so the spread over seeds is taken from the other models")
    bare = [model.name for model, person in zip(table.models, table.people, strict=True) if person is None]
    if labels_given and bare:
        few = f"fewer than {prediction_powered.FEWEST_LABELS} labelled answers, so no human estimate"
        warnings.append(f"{', '.join(bare)}: {few}")
    return warnings
