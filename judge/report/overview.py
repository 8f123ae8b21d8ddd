"""The sections that every report has: scores, differences, categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from equiloss import numerals, templates
from judge.comparison.document import Comparison, Difference
from judge.data.scores import Scores
from judge.data.verdicts import Judged
from judge.report import plots
from judge.report.sections import Section


def fill(name: str, **values: Any) -> Markup:
    """Render a report template with escaping on. Numbers are formatted by filters named as in `equiloss.numerals`.

    Raises: InputError when there is no such template.
    """
    environment = templates.environment(autoescape=True)
    helpers = {"number": numerals.number, "interval": numerals.interval, "p_value": numerals.p_value}
    template = environment.from_string(templates.source("report", name))
    return Markup(template.render(percent=numerals.percent, plots=plots, **helpers, **values))


def scores(comparison: Comparison, scores: Scores, judged: Sequence[Judged], scale: tuple[float, float]) -> Section:
    """Every model's mean with its interval on one axis, and how often each score was given."""
    digits = numerals.digits_for(*scale)
    spans = [end for one in comparison.models for end in (one.interval or ())]
    axis = plots.axis(spans, include=[one.mean for one in comparison.models if one.mean is not None])
    place = _places(comparison)
    given = _given(comparison, scores, judged)
    rows = [
        {
            "model": one,
            "index": place[one.name],
            "plot": plots.interval(
                axis,
                one.mean,
                one.interval,
                place[one.name],
                f"{one.name}: mean {numerals.number(one.mean, digits)}, interval {_span(one.interval, digits)}",
            ),
            "histogram": plots.histogram(
                given[one.name], *scale, place[one.name], f"{one.name}: {_shares(given[one.name], scale)}"
            ),
        }
        for one in sorted(comparison.models, key=lambda model: -(model.mean or 0.0))
    ]
    body = fill(
        "scores",
        rows=rows,
        ruler=plots.ruler(axis),
        comparison=comparison,
        digits=digits,
        scale=scale,
        failing=any(one.failures or one.n_missing for one in comparison.models),
    )
    return Section("scores", "Scores", body, {"models": [one.model_dump(mode="json") for one in comparison.models]})


def differences(comparison: Comparison, scale: tuple[float, float]) -> Section:
    """All paired differences, largest first, each told from the side of the model that is ahead."""
    digits = numerals.digits_for(*scale)
    spans = [abs(end) for one in comparison.differences for end in (one.interval or ())]
    gaps = sorted(comparison.differences, key=lambda one: -abs(one.difference or 0.0))
    turned = [_turned(one) for one in gaps]
    ends = [end for one in turned for end in (one["interval"] or ())]
    axis = plots.axis(ends, include=[0.0])
    place = _places(comparison)
    for row in turned:
        words = f"{row['a']} minus {row['b']}: {numerals.number(row['difference'], digits)}, interval "
        row["plot"] = plots.interval(
            axis, row["difference"], row["interval"], -1, words + _span(row["interval"], digits), zero=True
        )
        counts = (row["wins"], row["ties"], row["losses"])
        row["shares"] = plots.shares(
            list(zip(counts, ("fill win", "fill tie", "fill loss"), strict=True)),
            f"{row['a']} higher on {counts[0]} items, equal on {counts[1]}, lower on {counts[2]}",
        )
    body = fill(
        "differences",
        rows=turned,
        place=place,
        ruler=plots.ruler(axis),
        comparison=comparison,
        digits=digits,
        effect=next((one.needed.effect for one in comparison.differences if one.needed), None),
        missing=any(one.n_missing for one in comparison.models),
    )
    data = [one.model_dump(mode="json") for one in comparison.differences]
    return Section("differences", "Paired differences", body, {"differences": data, "widest": max(spans, default=0.0)})


def people(comparison: Comparison, scale: tuple[float, float]) -> Section:
    """What the person who labelled some answers would score: means and gaps, beside the judge's."""
    models = sorted(comparison.models, key=lambda one: -(one.human.mean if one.human else -1e9))
    gaps = [one for one in comparison.differences if one.human]
    digits = numerals.digits_for(*scale)
    body = fill("people", models=models, gaps=gaps, digits=digits, scale=scale)
    data = {
        "models": {one.name: one.human.model_dump(mode="json") for one in models if one.human},
        "gaps": [{"a": one.a, "b": one.b, **one.human.model_dump(mode="json")} for one in gaps if one.human],
    }
    return Section("people", "As a person scores", body, data)


def control_answers(comparison: Comparison) -> Section:
    """What the judge gave the answers whose right score is known."""
    body = fill("control_answers", kinds=comparison.control_answers)
    data = {kind: one.model_dump(mode="json") for kind, one in comparison.control_answers.items()}
    return Section("canaries", "Control answers", body, data)


def categories(comparison: Comparison, scale: tuple[float, float]) -> Section:
    """Means by category of item, all models on one axis."""
    digits = numerals.digits_for(*scale)
    spans = [end for one in comparison.categories for span in one.intervals.values() for end in span]
    axis = plots.axis(spans)
    place = _places(comparison)
    blocks = [
        {
            "category": one.category,
            "n_items": one.n_items,
            "rows": [
                {
                    "name": name,
                    "mean": mean,
                    "interval": one.intervals[name],
                    "plot": plots.interval(
                        axis,
                        mean,
                        one.intervals[name],
                        place[name],
                        f"{one.category}, {name}: {numerals.number(mean, digits)}, "
                        f"interval {_span(one.intervals[name], digits)}",
                    ),
                }
                for name, mean in one.means.items()
            ],
        }
        for one in sorted(comparison.categories, key=lambda one: -_spread(one.means))
    ]
    body = fill("categories", blocks=blocks, place=place, ruler=plots.ruler(axis), digits=digits, comparison=comparison)
    data = [one.model_dump(mode="json") for one in comparison.categories]
    return Section("categories", "By category", body, {"categories": data})


def _places(comparison: Comparison) -> dict[str, int]:
    """Which colour and shape each model has: its place among the files, the same in every plot."""
    return {one.name: index for index, one in enumerate(comparison.models)}


def _given(comparison: Comparison, scores: Scores, judged: Sequence[Judged]) -> dict[str, list[float]]:
    """All single scores of each model, over runs, items and repeats."""
    members = {name: one.name for one in comparison.models for name in one.runs}
    given: dict[str, list[float]] = {one.name: [] for one in comparison.models}
    for row, run in enumerate(judged):
        values = scores.values[row]
        given[members[run.generator]] += [float(value) for value in values[~np.isnan(values)]]
    return given


def _turned(one: Difference) -> dict[str, Any]:
    row: dict[str, Any] = one.model_dump()
    if (one.difference or 0.0) < 0:
        row |= {"a": one.b, "b": one.a, "wins": one.losses, "losses": one.wins, "difference": -(one.difference or 0.0)}
        row["interval"] = _negated(one.interval)
        row["bounds"] = _negated(one.bounds)
        if one.length_adjusted:
            adjusted = one.length_adjusted
            row["length_adjusted"] = {"difference": -adjusted.difference, "interval": _negated(adjusted.interval)}
    return row


def _negated(span: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if span is None else (-span[1], -span[0])


def _span(span: tuple[float, float] | None, digits: int) -> str:
    if span is None:
        return "none"
    return f"{numerals.number(span[0], digits)} to {numerals.number(span[1], digits)}"


def _shares(values: Sequence[float], scale: tuple[float, float]) -> str:
    if not values:
        return "no scores"
    low, high = (sum(one == end for one in values) / len(values) for end in scale)
    return f"{numerals.percent(low)} of scores are the least possible, {numerals.percent(high)} the greatest"


def _spread(means: Mapping[str, float]) -> float:
    return max(means.values()) - min(means.values())
