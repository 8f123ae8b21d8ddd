"""Sentences made from numbers. Nothing here says more than the test behind it."""

from __future__ import annotations

import re
from typing import Any

from equiloss import templates
from equiloss.numerals import digits_for, number, p_value, percent
from judge.comparison.document import Comparison, Difference


def headline(comparison: Comparison, scale: tuple[float, float]) -> str:
    """The answer in one sentence: who scores higher, by how much, and whether that is shown."""
    text = templates.render(templates.source("report", "headline"), "report/headline", **facts(comparison, scale))
    return " ".join(text.split())


def first_sentence(text: str) -> tuple[str, str]:
    """A text's first sentence, and the others: a full stop ends one before a space and a capital letter."""
    first, *others = re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)
    return first, " ".join(others)


def facts(comparison: Comparison, scale: tuple[float, float]) -> dict[str, Any]:
    """What the sentences may say, as text ready to print, and the tests' outcomes."""
    digits = digits_for(*scale)
    ranked = sorted(comparison.models, key=lambda one: -(one.mean or 0.0))
    top = ranked[0]
    leaders = [one.name for one in ranked if one.mean == top.mean]
    against_top = [one for one in comparison.differences if top.name in (one.a, one.b)]
    others = {(one.b if one.a == top.name else one.a): one for one in against_top}
    return {
        "is_llm": comparison.is_llm,
        "confidence": percent(comparison.confidence, 0 if comparison.confidence * 100 % 1 == 0 else 1),
        "n_items": f"{comparison.n_items:,} item{'s' if comparison.n_items != 1 else ''}",
        "unit_of": unit(scale),
        "models": [one.name for one in ranked],
        "leaders": leaders,
        "top": {
            "name": top.name,
            "mean": number(top.mean, digits),
            "low": number(top.interval[0] if top.interval else None, digits),
            "high": number(top.interval[1] if top.interval else None, digits),
        },
        "beaten": [name for name in (one.name for one in ranked[1:]) if others[name].significant],
        "unbeaten": [name for name in (one.name for one in ranked[1:]) if not others[name].significant],
        "n_tests": len(comparison.differences),
        "pair": pair(comparison.differences[0], digits) if comparison.differences else None,
    }


def pair(one: Difference, digits: int) -> dict[str, Any]:
    """A difference told from the side of the model that is ahead."""
    gap = one.difference or 0.0
    flip = gap < 0
    low, high = one.interval or (None, None)
    if flip and low is not None and high is not None:
        low, high = -high, -low
    p = p_value(one.p_holm)
    return {
        "ahead": one.b if flip else one.a,
        "behind": one.a if flip else one.b,
        "gap": number(abs(gap), digits),
        "low": number(low, digits),
        "high": number(high, digits),
        "p": p if p.startswith("<") else f"= {p}",
        "significant": one.significant,
        "identical": one.wins == 0 and one.losses == 0,
        "level": gap == 0,
    }


def unit(scale: tuple[float, float]) -> str:
    """How a score is read: "of 100", or "on the scale from 1 to 10"."""
    low, high = scale
    if low == 0:
        return f"of {high:g}"
    return f"on the scale from {low:g} to {high:g}".replace("-", "−")
