"""Composition: equal mean loss, made of domains in which one base model is better and domains in which it is worse.

Tested where `pretrain eval` wrote per-document losses of both: domains that differ by more than the margin and beyond
noise, in both directions. It is a cause of the gap only where the gap lies on the items that are worded like the
domains in which the base of the side with the higher scores is the better one (`pretrain probe`, domains).
"""

from __future__ import annotations

import numpy as np

from equiloss.errors import InputError
from equiloss.loss_comparison import PartDifference, compare
from equiloss.records.diagnosis import Cause
from equiloss.statistics.equivalence import MARGIN_NATS
from judge.diagnose import prose
from judge.diagnose.case import Case, comparable
from judge.diagnose.causes.location import located
from judge.diagnose.causes.patterns import BaseCause, Pattern
from judge.diagnose.naming import ALPHA

CAUSE = BaseCause(
    "composition", "different domains in one mean", "a mean over domains can be equal in many ways; no paper"
)


def domains(case: Case) -> list[PartDifference]:
    """The difference in loss by domain, A minus B; [] without evaluations of both on the same documents."""
    try:
        first, second = comparable(case)
    except InputError:
        return []
    return compare(first, second).domains


def test(case: Case) -> Cause | None:
    """Whether domains differ in both directions, and the gap lies on items of theirs; None if not tested."""
    rows = domains(case)
    if len(rows) < 2 or case.gap is None:
        return None
    apart = [row for row in rows if row.p_holm is not None and row.p_holm < ALPHA and abs(row.value) > MARGIN_NATS]
    better = [row.name for row in apart if row.value < 0]
    worse = [row.name for row in apart if row.value > 0]
    if not better or not worse:
        says = "The base models do not differ by domain in both directions beyond the margin."
        return CAUSE.excluded(says)
    winning, side = (better, "A") if case.gap.value > 0 else (worse, "B")
    probes = [arm.base.probe for arm in case.arms if arm.base.probe is not None]
    of = next((probe.item_domains for probe in probes if probe.item_domains is not None), None)
    if of is None:
        pattern = Pattern(None, "Which domain each item is of was not probed.", False)
    else:
        chosen = np.array([of.get(id) in winning for id in case.ids], dtype=np.bool_)
        pattern = located(case.gap, chosen, f"items of {prose.names(winning)}")
    return CAUSE.by_pattern(
        pattern,
        f"Behind the equal mean, A's base is better on {prose.names(better)} and worse on {prose.names(worse)} "
        "than B's",
        f". The gap lies on items of {prose.names(winning)}, where {side}'s base is better.",
    )
