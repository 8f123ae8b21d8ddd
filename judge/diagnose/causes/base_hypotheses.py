"""What could be wrong with a base model: the measure that must differ, and the items on which the gap must then lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from equiloss.numerals import significant
from equiloss.records.counterfactual import ItemKind
from equiloss.records.diagnosis import Cause
from equiloss.records.probe import Measure
from equiloss.statistics.estimate import Estimate
from judge.diagnose import prose
from judge.diagnose.case import Case
from judge.diagnose.causes import item_kinds
from judge.diagnose.causes.measures import difference, no_effect
from judge.diagnose.causes.patterns import BaseCause, Prediction, dose_of_answers, dose_of_tokens

Measures = Mapping[str, Measure]
Dose = Callable[[float, float], float]


TEXT, RANDOM = "copying.text_accuracy", "copying.accuracy"
STORED, FIRST_MENTION = "cloze.stored_accuracy", "cloze.first_mention_accuracy"
FACTS = {
    STORED: "facts completed in the words that were read",
    FIRST_MENTION: "facts completed at the subject's first mention",
}


@dataclass(frozen=True)
class Hypothesis(BaseCause):
    """A cause that probes measure: what must differ, by how much at least, and the items that must suffer.

    `measures`: by name, each with what it is; the first that was probed on both sides counts. `better` is +1 where a
    higher value should give higher scores, -1 where a lower one should. `pattern` picks the items on which the cause
    predicts the gap, `items` calls them. `beside` is a fact's measure that is told with it, where it was probed, and
    its words; `doubt` looks at both sides' measures for another explanation of the difference, and says it ("" where
    there is none). `dose` says of the two values of a measure by how much of the scale answers to such items can differ
    for it at most; by all of it where it has none for the measure.
    """

    measures: Mapping[str, str]
    better: int
    least: float
    pattern: Callable[[Case], NDArray[np.bool_]]
    items: str
    says: str
    beside: tuple[str, str] = ("", "")
    doubt: Callable[[Measures, Measures], str] = lambda _a, _b: ""
    dose: Mapping[str, Dose] = field(default_factory=dict[str, Dose])


def _differences(a: Measures, b: Measures) -> tuple[float, float] | None:
    """A minus B of facts completed in the words that were read, and at first mention; None if not probed."""
    if any(name not in side for name in (STORED, FIRST_MENTION) for side in (a, b)):
        return None
    return a[STORED].value - b[STORED].value, a[FIRST_MENTION].value - b[FIRST_MENTION].value


def _mostly_storage(stored: float, mentioned: float) -> bool:
    """Half and more of the difference at first mention is there in the words that were read, too."""
    return 2 * stored * mentioned >= mentioned**2


def _not_stored(a: Measures, b: Measures) -> str:
    both = _differences(a, b)
    return "lies in facts that are not stored either" if both is not None and _mostly_storage(*both) else ""


def _stored(a: Measures, b: Measures) -> str:
    both = _differences(a, b)
    if both is None:
        return ""
    if both[0] * both[1] <= 0:
        return "is not there at the subject's first mention, where it would matter"
    return "" if _mostly_storage(*both) else "is less than half of the one at the subject's first mention"


HYPOTHESES = (
    Hypothesis(
        "knowledge-storage",
        "facts not stored",
        "Allen-Zhu & Li, arXiv 2309.14316 (storage, as distinct from extraction)",
        {STORED: FACTS[STORED]},
        1,
        0.1,
        item_kinds.knowledge_items,
        ItemKind.KNOWLEDGE,
        "completes known facts less often, even in the words in which it read them",
        (FIRST_MENTION, "at the subject's first mention"),
        _stored,
        {STORED: dose_of_answers},
    ),
    Hypothesis(
        "knowledge-extraction",
        "facts not extractable",
        "Allen-Zhu & Li, arXiv 2309.14316 and 2309.14402",
        {FIRST_MENTION: FACTS[FIRST_MENTION]},
        1,
        0.1,
        item_kinds.knowledge_items,
        ItemKind.KNOWLEDGE,
        "completes known facts less often when the subject is mentioned for the first time, in wordings of its own",
        (STORED, "in the words that each read"),
        _not_stored,
        {FIRST_MENTION: dose_of_answers},
    ),
    Hypothesis(
        "copying",
        "copying from the context",
        "Olsson et al., arXiv 2209.11895",
        {
            TEXT: "tokens of the test text that copying predicts",
            RANDOM: "tokens copied from random text that is repeated",
        },
        1,
        0.05,
        item_kinds.copying_items,
        ItemKind.COPYING,
        "continues what it has seen before in the text less often",
        dose={RANDOM: dose_of_tokens},  # none of TEXT: copying is practised in fine-tuning, by which they may part
    ),
)


def test(case: Case, hypothesis: Hypothesis, a: Measures, b: Measures) -> Prediction | Cause | None:
    """What the measure's difference predicts of the gap, or why it makes none; None where it was not probed."""
    name = next((name for name in hypothesis.measures if name in a and name in b), None)
    if name is None or case.gap is None:
        return None
    effect = difference(a[name], b[name])
    measured = prose.measured(hypothesis.measures[name], effect)
    if reason := no_effect(effect, hypothesis.least) or hypothesis.doubt(a, b):
        return hypothesis.excluded(f"{measured}, which {reason}.")
    worse, low, high = (case.b.name, b, a) if effect.value * hypothesis.better > 0 else (case.a.name, a, b)
    values = f"{significant(low[name].value)} against {significant(high[name].value)}"
    beside, words = hypothesis.beside
    if beside in a and beside in b:
        values += f"; {words}, {significant(low[beside].value)} against {significant(high[beside].value)}"
        measured += f". {prose.measured(FACTS[beside], difference(a[beside], b[beside]))}"
    size = hypothesis.dose[name](a[name].value, b[name].value) if name in hypothesis.dose else 1.0
    stretch = max(map(abs, effect.interval)) / abs(effect.value)
    return Prediction(
        hypothesis,
        _predicted(case, hypothesis, a[name], b[name]).astype(np.float64),
        hypothesis.items,
        1 if effect.value * hypothesis.better > 0 else -1,
        f"The base model of {worse} {hypothesis.says} ({values})",
        f", and on {hypothesis.items} it scores lower.",
        f"{measured}.",
        Estimate(value=min(1.0, size), high=min(1.0, size * stretch), low=0.0, unit="share of the scale"),
    )


def _predicted(case: Case, hypothesis: Hypothesis, a: Measure, b: Measure) -> NDArray[np.bool_]:
    """The items (I,) on which the cause predicts the gap: those that name a probed subject, else those of its kind.

    The samples' keys are "subject / attribute".
    """
    keys = set(a.samples or {}) & set(b.samples or {})
    linked = item_kinds.naming(case, {key.split(" / ")[0] for key in keys if " / " in key})
    return linked if linked.any() else hypothesis.pattern(case)
