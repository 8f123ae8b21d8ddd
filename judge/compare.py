"""Which model's answers are better, by how much, and how sure that is: means and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from judge import bootstrap, results
from judge.bootstrap import Floats, Interval
from judge.results import Judged, Panel
from pretrain.errors import InputError

COMPARISON_SCHEMA = "equiloss.comparison.v1"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class ModelScore(_Document):
    """One model's mean score."""

    name: str = Field(description="the model: a generator, or NAME for the seeds NAME.s1, NAME.s2, ...")
    runs: list[str] = Field(description="the generators that it is made of")
    mean: float | None = Field(description="mean score over the items in common; null when there are none")
    standard_error: float | None = Field(description="of the mean, over items")
    interval: Interval | None = Field(description="bootstrap interval (BCa) of the mean over items")
    n_scored: int = Field(description="items with a score in every run of this model")
    mean_scored: float | None = Field(description="mean over all those items, in common or not")
    n_missing: int = Field(description="items judged in some file but without a score in some run of this model")
    failures: dict[str, int] = Field(description="the judge's failures on this model's answers, by reason")


class Difference(_Document):
    """Two models on the same items: a minus b."""

    a: str
    b: str
    n_items: int = Field(description="items with a score for both")
    difference: float | None = Field(description="mean of a's score minus b's, over those items")
    standard_error: float | None
    interval: Interval | None = Field(description="bootstrap interval (BCa) over items")
    interval_percentile: Interval | None = Field(description="the plain percentile bootstrap interval")
    wins: int = Field(description="items on which a's score is higher")
    ties: int
    losses: int
    p: float | None = Field(description="two-sided sign-flip permutation test over items")
    p_holm: float | None = Field(description="the same after Holm's correction for all differences in the table")
    significant: bool = Field(description="p_holm is below 1 - confidence")


class CategoryScore(_Document):
    """Every model's mean in one category of items, over the items in common."""

    category: str
    n_items: int
    means: dict[str, float]
    intervals: dict[str, Interval]


class Comparison(_Document):
    """What `judge compare --json` prints."""

    schema_: str = Field(COMPARISON_SCHEMA, alias="schema")
    rubric: str
    judge: str
    is_llm: bool = Field(description="false for the offline reference judge")
    criterion: str = Field(description='"overall", or the criterion asked for')
    confidence: float
    draws: int = Field(description="bootstrap and permutation draws")
    seed: int
    n_items: int = Field(description="items in common: a score for every model")
    n_items_any: int = Field(description="items that the judge was asked about for any model")
    n_repeats: int
    models: list[ModelScore] = Field(description="in the order of the files")
    differences: list[Difference] = Field(description="all pairs")
    categories: list[CategoryScore]
    warnings: list[str]


@dataclass(frozen=True)
class ModelValues:
    """A model's scores: `values` (S, I), one row per run, mean over repeats; NaN where no score was given."""

    name: str
    runs: tuple[str, ...]
    values: Floats

    def by_item(self) -> Floats:
        """Mean over runs, (I,); NaN where any run has no score."""
        return self.values.mean(axis=0)


def by_model(judged: Sequence[Judged], scores: results.Scores, *, pool_seeds: bool = True) -> list[ModelValues]:
    """Scores of each model, its seeds as rows; with `pool_seeds` off every run is a model of its own."""
    rows: dict[str, list[int]] = {}
    for row, run in enumerate(judged):
        rows.setdefault(run.model if pool_seeds and run.seed is not None else run.generator, []).append(row)
    by_item = scores.by_item()
    return [
        ModelValues(name, tuple(scores.generators[row] for row in members), by_item[members])
        for name, members in rows.items()
    ]


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
) -> Comparison:
    """Means, paired differences and categories of the runs, on one panel.

    Raises: InputError when they share no panel, or when no item was judged for all of them.
    """
    panel = results.choose_panel(judged, rubric, judge)
    scores = results.scores(judged, panel, criterion)
    models = by_model(judged, scores, pool_seeds=pool_seeds)
    stacked = np.stack([model.by_item() for model in models])  # (M, I)
    common: NDArray[np.bool_] = np.asarray(~np.isnan(stacked).any(axis=0))
    if not common.any():
        raise InputError(
            "no item has a score for every file", "judge the same items for all: `judge score` with all files"
        )
    differences = _differences(models, stacked, confidence, draws, seed)
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
            "n_repeats": scores.values.shape[2],
            "models": _models(judged, panel, models, stacked, common, confidence, draws, seed),
            "differences": differences,
            "categories": _categories(models, stacked, common, scores.categories, confidence, draws, seed),
            "warnings": [*scores.warnings, *_warnings(scores, common, panel)],
        }
    )


def standard_error(values: Floats) -> float | None:
    """Standard error of a mean over items; None for fewer than two."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _models(
    judged: Sequence[Judged],
    panel: Panel,
    models: Sequence[ModelValues],
    stacked: Floats,
    common: NDArray[np.bool_],
    confidence: float,
    draws: int,
    seed: int,
) -> list[ModelScore]:
    shared = stacked[:, common]
    replicates = bootstrap.resampled_means(shared, draws, seed)
    failures: dict[str, dict[str, int]] = {}
    for run in judged:
        counts = failures.setdefault(run.generator, {})
        for one in run.failures:
            if Panel(one.rubric, one.judge) == panel:
                counts[one.reason] = counts.get(one.reason, 0) + 1
    rows: list[ModelScore] = []
    for index, model in enumerate(models):
        own = stacked[index][~np.isnan(stacked[index])]
        counted: dict[str, int] = {}
        for run in model.runs:
            for reason, count in failures[run].items():
                counted[reason] = counted.get(reason, 0) + count
        rows.append(
            ModelScore(
                name=model.name,
                runs=list(model.runs),
                mean=float(shared[index].mean()),
                standard_error=standard_error(shared[index]),
                interval=bootstrap.bca(shared[index], replicates[:, index], confidence),
                n_scored=len(own),
                mean_scored=float(own.mean()) if len(own) else None,
                n_missing=stacked.shape[1] - len(own),
                failures=dict(sorted(counted.items())),
            )
        )
    return rows


def _differences(
    models: Sequence[ModelValues], stacked: Floats, confidence: float, draws: int, seed: int
) -> list[Difference]:
    pairs = list(combinations(range(len(models)), 2))
    if not pairs:
        return []
    gaps = np.stack([stacked[a] - stacked[b] for a, b in pairs])  # (P, I)
    replicates = bootstrap.resampled_means(gaps, draws, seed)
    p_values = bootstrap.sign_flip_p(gaps, draws, seed)
    corrected = bootstrap.holm([float(p) for p in p_values])
    rows: list[Difference] = []
    for index, (a, b) in enumerate(pairs):
        gap = gaps[index][~np.isnan(gaps[index])]
        rows.append(
            Difference(
                a=models[a].name,
                b=models[b].name,
                n_items=len(gap),
                difference=float(gap.mean()),
                standard_error=standard_error(gap),
                interval=bootstrap.bca(gap, replicates[:, index], confidence),
                interval_percentile=bootstrap.percentile(replicates[:, index], confidence),
                wins=int((gap > 0).sum()),
                ties=int((gap == 0).sum()),
                losses=int((gap < 0).sum()),
                p=float(p_values[index]),
                p_holm=corrected[index],
                significant=corrected[index] < 1 - confidence,
            )
        )
    return rows


def _categories(
    models: Sequence[ModelValues],
    stacked: Floats,
    common: NDArray[np.bool_],
    categories: Sequence[str | None],
    confidence: float,
    draws: int,
    seed: int,
) -> list[CategoryScore]:
    rows: list[CategoryScore] = []
    for category in sorted({one for one in categories if one is not None}):
        inside = common & np.array([one == category for one in categories])
        if inside.any():
            values = stacked[:, inside]
            replicates = bootstrap.resampled_means(values, draws, seed)
            rows.append(
                CategoryScore(
                    category=category,
                    n_items=int(inside.sum()),
                    means={model.name: float(values[i].mean()) for i, model in enumerate(models)},
                    intervals={
                        model.name: bootstrap.bca(values[i], replicates[:, i], confidence)
                        for i, model in enumerate(models)
                    },
                )
            )
    return rows


def _warnings(scores: results.Scores, common: NDArray[np.bool_], panel: Panel) -> list[str]:
    warnings: list[str] = []
    if not panel.is_llm:
        warnings.append("the offline reference judge measures agreement with the reference answer; it is not an LLM")
    missing = len(scores.ids) - int(common.sum())
    if missing:
        warnings.append(
            f"{missing} of {len(scores.ids)} items lack a score for some model and are left out of the means"
        )
    if 0 < int(common.sum()) < 20:
        warnings.append(f"only {int(common.sum())} items in common: bootstrap intervals are too narrow for so few")
    return warnings
