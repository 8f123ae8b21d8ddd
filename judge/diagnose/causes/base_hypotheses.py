"""What could be wrong with a base model: the measure that must differ, and the items on which the gap must then lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import Cause
from judge.diagnose.case import Case
from judge.diagnose.causes import item_kinds
from judge.diagnose.causes.location import located
from judge.diagnose.causes.measures import Measure, difference
from judge.diagnose.causes.patterns import by_pattern, excluded, misfit


@dataclass(frozen=True)
class Hypothesis:
    """A cause in the base model: the measure that must differ, by how much at least, and the items that must suffer.

    `measures`: by name, the best first; the first that was probed on both sides counts.
    `better` is +1 where a higher value should give higher scores, -1 where a lower one should.
    `pattern` picks the items on which the cause predicts the gap. `beside` is a measure that is told with it, where it
    was probed, and its words; `doubt` looks at both sides' measures for another explanation of the difference, and
    says it ("" where there is none).
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
    beside: tuple[str, str] = ("", "")
    doubt: Callable[[Mapping[str, Measure], Mapping[str, Measure]], str] = lambda _a, _b: ""


STORED, FIRST_MENTION = "cloze.stored_accuracy", "cloze.first_mention_accuracy"


def _differences(a: Mapping[str, Measure], b: Mapping[str, Measure]) -> tuple[float, float] | None:
    """A minus B of facts completed in the words that were read, and at first mention; None if not probed."""
    if any(name not in side for name in (STORED, FIRST_MENTION) for side in (a, b)):
        return None
    return a[STORED].value - b[STORED].value, a[FIRST_MENTION].value - b[FIRST_MENTION].value


def _mostly_storage(stored: float, mentioned: float) -> bool:
    """Half and more of the difference at first mention is there in the words that were read, too."""
    return 2 * stored * mentioned >= mentioned**2


def _not_stored(a: Mapping[str, Measure], b: Mapping[str, Measure]) -> str:
    found = _differences(a, b)
    return "lies in facts that are not stored either" if found is not None and _mostly_storage(*found) else ""


def _stored(a: Mapping[str, Measure], b: Mapping[str, Measure]) -> str:
    found = _differences(a, b)
    if found is None:
        return ""
    if found[0] * found[1] <= 0:
        return "is not there at the subject's first mention, where it would matter"
    return "" if _mostly_storage(*found) else "is less than half of the one at the subject's first mention"


HYPOTHESES = (
    Hypothesis(
        "knowledge-storage",
        "facts not stored",
        (STORED,),
        1,
        0.1,
        item_kinds.knowledge_items,
        "items that ask for knowledge",
        "completes known facts less often, even in the words in which it read them",
        "Allen-Zhu & Li, arXiv 2309.14316 (storage, as distinct from extraction)",
        (FIRST_MENTION, "at the subject's first mention"),
        _stored,
    ),
    Hypothesis(
        "knowledge-extraction",
        "facts not extractable",
        (FIRST_MENTION,),
        1,
        0.1,
        item_kinds.knowledge_items,
        "items that ask for knowledge",
        "completes known facts less often when the subject is mentioned for the first time, in wordings of its own",
        "Allen-Zhu & Li, arXiv 2309.14316 and 2309.14402",
        (STORED, "in the words that each read"),
        _not_stored,
    ),
    Hypothesis(
        "copying",
        "copying from the context",
        ("copying.text_accuracy", "copying.accuracy"),
        1,
        0.05,
        item_kinds.copying_items,
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
    measured = f"{name}: A minus B is {estimated(effect)}"
    if reason := misfit(effect, one.least, one.better * gap.value) or one.doubt(a, b):
        return excluded(one.cause, one.title, one.source, f"{measured}, which {reason}.")
    worse = case.b.name if effect.value * one.better > 0 else case.a.name
    values = _worse_first(a[name], b[name], worse == case.b.name)
    beside, words = one.beside
    if beside in a and beside in b:
        values += f"; {words}, {_worse_first(a[beside], b[beside], worse == case.b.name)}"
        measured += f". {beside}: A minus B is {estimated(difference(a[beside], b[beside]))}"
    return by_pattern(
        one.cause,
        one.title,
        one.source,
        located(gap, _chosen(case, one, a[name], b[name]), one.items),
        f"The base model of {worse} {one.says} ({values})",
        f", and the gap lies on {one.items}.",
        f"{measured}.",
    )


def _worse_first(a: Measure, b: Measure, worse_is_b: bool) -> str:
    first, second = (b, a) if worse_is_b else (a, b)
    return f"{significant(first.value)} against {significant(second.value)}"


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
    return np.array([bool(found) for found in item_kinds.naming(case, subjects)], dtype=np.bool_)
