"""Sentences made from numbers. Nothing here says more than the test behind it."""

from __future__ import annotations

import re
from dataclasses import replace

from equiloss import templates
from equiloss.numerals import digits_for, plain
from equiloss.statistics.estimate import Interval
from judge.comparison.document import Comparison, Difference


def headline(comparison: Comparison, scale: tuple[float, float]) -> str:
    """The answer in one sentence: who scores higher, by how much, and whether that is shown."""
    ranked = sorted(comparison.models, key=lambda model: -(model.mean or 0.0))
    top = ranked[0]
    leads = {gap.b if gap.a == top.name else gap.a: gap.significant for gap in comparison.differences
             if top.name in (gap.a, gap.b)}  # fmt: skip
    text = templates.report_text(
        "headline",
        comparison=comparison,
        top=top,
        leaders=[model.name for model in ranked if model.mean == top.mean],
        beaten=[model.name for model in ranked[1:] if leads[model.name]],
        unbeaten=[model.name for model in ranked[1:] if not leads[model.name]],
        gap=from_ahead(comparison.differences[0]) if comparison.differences else None,
        measured=sum(gap.method == "seeds and items" for gap in comparison.differences),
        unit=unit(scale),
        digits=digits_for(*scale),
    )
    return " ".join(text.split())


def first_sentence(text: str) -> tuple[str, str]:
    """A text's first sentence, and the others: a full stop ends one before a space and a capital letter."""
    first, *others = re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)
    return first, " ".join(others)


def from_ahead(gap: Difference) -> Difference:
    """A difference from the side of the model that is ahead."""
    if (gap.difference or 0.0) >= 0:
        return gap
    adjusted = gap.length_adjusted
    if adjusted is not None:
        low, high = adjusted.interval
        adjusted = replace(adjusted, difference=-adjusted.difference, interval=(-high, -low))
    changes = {
        "a": gap.b,
        "b": gap.a,
        "wins": gap.losses,
        "losses": gap.wins,
        "difference": -(gap.difference or 0.0),
        "interval": _mirrored(gap.interval),
        "interval_items": _mirrored(gap.interval_items),
        "bounds": _mirrored(gap.bounds),
        "length_adjusted": adjusted,
        "with_noise": gap.with_noise
        and gap.with_noise.model_copy(
            update={"bases": _mirrored(gap.with_noise.bases), "recipes": _mirrored(gap.with_noise.recipes)}
        ),
    }
    return gap.model_copy(update=changes)


def _mirrored(span: Interval | None) -> Interval | None:
    return None if span is None else (-span[1], -span[0])


def unit(scale: tuple[float, float]) -> str:
    """How a score is read: "of 100", or "on the scale from 1 to 10"."""
    low, high = scale
    if low == 0:
        return f"of {plain(high)}"
    return f"on the scale from {plain(low)} to {plain(high)}"
