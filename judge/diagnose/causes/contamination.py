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
from judge.diagnose.causes.location import located
from judge.diagnose.causes.measures import difference
from judge.diagnose.causes.mediation import mediated
from judge.diagnose.causes.patterns import BaseCause, misfit

CAUSE = BaseCause("contamination", "test items in the pretraining text", "difference in differences; no paper")
ADVANTAGE = "items.test_advantage"
LEAST = 0.1
"""Nats per token by which the test items must be likelier than their kind in one base model than in the other."""


def test(case: Case, a: Mapping[str, Measure], b: Mapping[str, Measure]) -> Cause | None:
    """Whether test items leaked to the better side alone, and carry the gap; None where nothing was looked for."""
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


def _by_overlap(case: Case, of_a: frozenset[str], of_b: frozenset[str]) -> Cause:
    assert case.gap is not None
    better, own, other = (case.a, of_a, of_b) if case.gap.value > 0 else (case.b, of_b, of_a)
    only = own - other
    chosen = np.array([id in only for id in case.ids], dtype=np.bool_)
    counts = (
        f"{len(of_a)} test items stand in the pretraining text of {case.a.name}, {len(of_b)} in that of {case.b.name}"
    )
    if not chosen.any():
        says = f"{counts}: none that only the side with the higher scores has read."
        return CAUSE.excluded(says)
    return CAUSE.by_pattern(
        located(case.gap, chosen, f"items that only {better.name}'s base has read"),
        f"{int(chosen.sum())} of the {len(case.ids)} test items stand in the text that {better.name}'s base model "
        "read, and not in the other's",
        ", and the gap lies on them.",
        f"{counts}.",
    )


def _by_loss(case: Case, a: Measure, b: Measure) -> Cause:
    assert case.gap is not None
    effect = difference(a, b)
    measured = prose.measured("how much likelier the test items are than training items of the same data", effect)
    if reason := misfit(effect, LEAST, case.gap.value):
        return CAUSE.excluded(f"{measured}, which {reason}.")
    better = case.a.name if effect.value > 0 else case.b.name
    return CAUSE.by_pattern(
        mediated(case, case.gap, a, b),
        f"The base model of {better} finds the test items likelier, against training items of the same data, than "
        "the other does",
        ", and the gap lies on the items that it finds likelier.",
        f"{measured}.",
    )
