"""The sections that every report has: scores, differences, categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from markupsafe import Markup

from equiloss import numerals, templates
from judge.comparison.document import CategoryScore, Comparison
from judge.data.scores import Scores
from judge.data.verdicts import Judged
from judge.report import plots, prose
from judge.report.sections import Section


def fill(name: str, **values: Any) -> Markup:
    """Render a section's template, which may draw with `plots`."""
    return Markup(templates.report_page(name, plots=plots, **values))


def scores(comparison: Comparison, scores: Scores, judged: Sequence[Judged], scale: tuple[float, float]) -> Section:
    """Every model's mean with its interval on one axis, and how often each score was given."""
    members = {run: model.name for model in comparison.models for run in model.runs}
    given: dict[str, list[float]] = {model.name: [] for model in comparison.models}
    for values, run in zip(scores.values, judged, strict=True):
        given[members[run.generator]] += values[~np.isnan(values)].tolist()
    ends = [end for model in comparison.models for end in (model.mean, *(model.interval or ())) if end is not None]
    body = fill(
        "scores",
        comparison=comparison,
        models=sorted(comparison.models, key=lambda model: -(model.mean or 0.0)),
        given=given,
        axis=plots.axis(ends),
        place=places(comparison),
        scale=scale,
        digits=numerals.digits_for(*scale),
    )
    return Section("scores", "Scores", body, {"models": [model.model_dump(mode="json") for model in comparison.models]})


def differences(comparison: Comparison, scale: tuple[float, float]) -> Section:
    """All paired differences, largest first, each from the side of the model that is ahead."""
    gaps = [prose.from_ahead(gap) for gap in comparison.differences]
    ends = [end for gap in gaps for end in gap.interval or ()]
    body = fill(
        "differences",
        comparison=comparison,
        gaps=sorted(gaps, key=lambda gap: -(gap.difference or 0.0)),
        axis=plots.axis(ends, include=[0.0]),
        place=places(comparison),
        digits=numerals.digits_for(*scale),
    )
    data = [gap.model_dump(mode="json") for gap in comparison.differences]
    widest = max(map(abs, ends), default=0.0)
    return Section("differences", "Paired differences", body, {"differences": data, "widest": widest})


def people(comparison: Comparison, scale: tuple[float, float]) -> Section:
    """What the person who labelled some answers would score: means and gaps, beside the judge's."""
    models = sorted(comparison.models, key=lambda model: -(model.human.mean if model.human else -1e9))
    gaps = [gap for gap in comparison.differences if gap.human]
    body = fill("people", models=models, gaps=gaps, digits=numerals.digits_for(*scale), scale=scale)
    data = {
        "models": {model.name: model.human.model_dump(mode="json") for model in models if model.human},
        "gaps": [{"a": gap.a, "b": gap.b, **asdict(gap.human)} for gap in gaps if gap.human],
    }
    return Section("people", "As a person scores", body, data)


def control_answers(comparison: Comparison) -> Section:
    """What the judge gave the answers whose right score is known."""
    data = {kind: score.model_dump(mode="json") for kind, score in comparison.control_answers.items()}
    return Section("canaries", "Control answers", fill("control_answers", kinds=comparison.control_answers), data)


def categories(comparison: Comparison, scale: tuple[float, float]) -> Section:
    """Means by category of item, all models on one axis; where models lie farthest apart comes first."""

    def spread(category: CategoryScore) -> float:
        return max(category.means.values()) - min(category.means.values())

    ends = [end for category in comparison.categories for span in category.intervals.values() for end in span or ()]
    body = fill(
        "categories",
        categories=sorted(comparison.categories, key=spread, reverse=True),
        axis=plots.axis(ends),
        place=places(comparison),
        digits=numerals.digits_for(*scale),
    )
    data = [category.model_dump(mode="json") for category in comparison.categories]
    return Section("categories", "By category", body, {"categories": data})


def places(comparison: Comparison) -> dict[str, int]:
    """Which colour and shape each model has: its place among the files, the same in every plot."""
    return {model.name: index for index, model in enumerate(comparison.models)}
