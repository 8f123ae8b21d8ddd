"""Contamination: test items that stand in one base model's pretraining text and not in the other's.

`ift run --overlap SHARDS` records which test items the pretraining text holds. Where some do and some do not, the
items that only one model can have read must carry the gap: a difference in differences in which what makes an item
hard, and a model good, cancels. Where the texts were not searched, the base models' answer losses
(`items.test_advantage`) are what is left, and the gap must follow them item by item.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from equiloss.records.diagnosis import Cause
from equiloss.records.probe import Measure
from judge.diagnose import prose
from judge.diagnose.case import Arm, Case
from judge.diagnose.causes.measures import difference, no_effect
from judge.diagnose.causes.patterns import BaseCause, Prediction

CAUSE = BaseCause("contamination", "test items in the pretraining text", "difference in differences; no paper")
ADVANTAGE = "items.test_advantage"
LEAST = 0.1
"""Nats per token by which the test items must be likelier than their kind in one base model than in the other."""


def test(case: Case, a: Mapping[str, Measure], b: Mapping[str, Measure]) -> Prediction | Cause | None:
    """Whether test items leaked to one side alone, and which; None where nothing was looked for."""
    leaked = [leaked_items(arm) for arm in case.arms]
    if case.gap is None:
        return None
    if leaked[0] is not None and leaked[1] is not None:
        return _by_overlap(case, leaked[0], leaked[1])
    return _by_loss(case, a[ADVANTAGE], b[ADVANTAGE]) if ADVANTAGE in a and ADVANTAGE in b else None


def leaked_items(arm: Arm) -> frozenset[str] | None:
    """The ids of the test items that the arm's pretraining text holds; None where it was not searched."""
    overlap = arm.record.data.overlap if arm.record else None
    return frozenset(overlap.corpus.ids) if overlap and overlap.corpus else None


def _by_overlap(case: Case, of_a: frozenset[str], of_b: frozenset[str]) -> Prediction | Cause:
    counts = (
        f"{len(of_a)} test items stand in the pretraining text of {case.a.name}, {len(of_b)} in that of {case.b.name}"
    )
    only_a, only_b = (sum(id in one for id in case.ids) for one in (of_a - of_b, of_b - of_a))
    if not only_a and not only_b:
        return CAUSE.excluded(f"{counts}: none that only one side has read.")
    reader, own, sign = (case.a, of_a - of_b, 1) if only_a >= only_b else (case.b, of_b - of_a, -1)
    return Prediction(
        CAUSE,
        np.array([id in own for id in case.ids], dtype=np.float64),
        f"items that only {reader.name}'s base has read",
        sign,
        f"{max(only_a, only_b)} of the {len(case.ids)} test items stand in the text that {reader.name}'s base model "
        f"read, and not in the other's",
        f", and on them {reader.name} scores higher.",
        f"{counts}.",
    )


def _by_loss(case: Case, a: Measure, b: Measure) -> Prediction | Cause:
    effect = difference(a, b)
    measured = prose.measured("how much likelier the test items are than training items of the same data", effect)
    if reason := no_effect(effect, LEAST):
        return CAUSE.excluded(f"{measured}, which {reason}.")
    better = case.a.name if effect.value > 0 else case.b.name
    of_a, of_b = a.samples or {}, b.samples or {}
    return Prediction(
        CAUSE,
        np.array([of_a.get(id, 0.0) - of_b.get(id, 0.0) for id in case.ids]),
        f"items that {better}'s base finds likelier",
        1,  # the pattern has the sign of A's advantage
        f"The base model of {better} finds the test items likelier, against training items of the same data, than "
        "the other does",
        ", and the gap lies on the items that it finds likelier.",
        f"{measured}.",
    )
