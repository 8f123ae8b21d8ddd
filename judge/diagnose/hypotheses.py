"""What could be wrong with a base model: the measure that must differ, and the items on which the gap must then lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from judge.diagnose import kinds, prose
from judge.diagnose.inputs import Case
from judge.diagnose.location import located
from judge.diagnose.measures import Measure, difference
from judge.diagnose.mechanisms import by_pattern, excluded, misfit
from judge.diagnose.records import Cause


@dataclass(frozen=True)
class Hypothesis:
    """A cause in the base model: the measure that must differ, by how much at least, and the items that must suffer.

    `measures`: by name, the best first; the first that was probed on both sides counts.
    `better` is +1 where a higher value should give higher scores, -1 where a lower one should.
    `pattern` picks the items on which the cause predicts the gap.
    """

    cause: str
    title: str
    measures: tuple[str, ...]
    better: int
    least: float
    pattern: Callable[[Case], NDArray[np.bool_]]
    items: str
    says: str
    source: str


HYPOTHESES = (
    Hypothesis(
        "knowledge-extraction",
        "facts stored but not extractable",
        ("cloze.first_mention_accuracy",),
        1,
        0.1,
        kinds.knowledge_items,
        "items that ask for knowledge",
        "completes known facts less often when the subject is mentioned for the first time, in wordings of its own",
        "Allen-Zhu & Li, arXiv 2309.14316 and 2309.14402",
    ),
    Hypothesis(
        "copying",
        "copying from the context",
        ("copying.text_accuracy", "copying.accuracy"),
        1,
        0.05,
        kinds.copying_items,
        "items that ask to copy",
        "continues what it has seen before in the text less often",
        "Olsson et al., arXiv 2209.11895",
    ),
)


def test(case: Case, one: Hypothesis, a: Mapping[str, Measure], b: Mapping[str, Measure]) -> Cause | None:
    """Whether the measure differs in the gap's direction, beyond noise, and the gap lies on the predicted items."""
    gap = case.gap
    name = next((name for name in one.measures if name in a and name in b), None)
    if name is None or gap is None:
        return None
    effect = difference(a[name], b[name])
    measured = f"{name}: A minus B is {prose.span(effect)}"
    if reason := misfit(effect, one.least, one.better * gap.value):
        return excluded(one.cause, one.title, one.source, f"{measured}, which {reason}.")
    worse = case.b.name if effect.value * one.better > 0 else case.a.name
    both = sorted((a[name].value, b[name].value), reverse=one.better < 0)
    values = [prose.number(value) for value in both]  # the worse side's first
    return by_pattern(
        one.cause,
        one.title,
        one.source,
        located(gap, _chosen(case, one, a[name], b[name]), one.items),
        f"The base model of {worse} {one.says} ({values[0]} against {values[1]})",
        f", and the gap lies on {one.items}.",
        f"{measured}.",
    )


def _chosen(case: Case, one: Hypothesis, a: Measure, b: Measure) -> NDArray[np.bool_]:
    """The items (I,) on which the cause predicts the gap: those that name a probed subject, else those of its kind."""
    linked = _linked(case, a, b)
    return one.pattern(case) if linked is None or not linked.any() else linked


def _linked(case: Case, a: Measure, b: Measure) -> NDArray[np.bool_] | None:
    """Items whose question names a probed subject (the samples' keys are "subject / attribute")."""
    keys = set(a.samples or {}) & set(b.samples or {})
    subjects = sorted({key.split(" / ")[0] for key in keys if " / " in key})
    if not subjects:
        return None
    return np.array([bool(found) for found in kinds.naming(case, subjects)], dtype=np.bool_)
