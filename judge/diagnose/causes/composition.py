"""Composition: equal mean loss, made of domains in which one base model is better and domains in which it is worse.

Tested where `pretrain eval` wrote per-document losses of both: domains that differ by more than the margin and beyond
noise, in both directions. It is a cause of the gap only where the gap lies on the items that are worded like the
domains in which the base of the side with the higher scores is the better one (`pretrain probe`, domains).
"""

from __future__ import annotations

import numpy as np

from equiloss.errors import InputError
from equiloss.loss_comparison import compare
from equiloss.records.diagnosis import Cause
from equiloss.statistics.equivalence import MARGIN_NATS
from judge.diagnose import prose
from judge.diagnose.case import Case, comparables
from judge.diagnose.causes.patterns import BaseCause, Prediction
from judge.diagnose.naming import ALPHA

CAUSE = BaseCause(
    "composition", "different domains in one mean", "a mean over domains can be equal in many ways; no paper"
)


def test(case: Case) -> Prediction | Cause | None:
    """Whether domains differ in both directions, and what that predicts item by item; None if not tested."""
    try:
        first, second = comparables(case)[0]
    except InputError:
        return None
    rows = compare(first, second).domains
    if len(rows) < 2 or case.gap is None:
        return None
    apart = [row for row in rows if row.p_holm is not None and row.p_holm < ALPHA and abs(row.value) > MARGIN_NATS]
    better = [row.name for row in apart if row.value < 0]
    worse = [row.name for row in apart if row.value > 0]
    if not better or not worse:
        return CAUSE.excluded("The base models do not differ by domain in both directions beyond the margin.")
    says = f"Behind the equal mean, A's base is better on {prose.names(better)} than B's, "
    says += f"and worse on {prose.names(worse)}."
    probes = [arm.base.probe for arm in case.arms if arm.base.probe is not None]
    domain_of = next((probe.item_domains for probe in probes if probe.item_domains is not None), None)
    if domain_of is None:
        missing = "Which domain each item is of was not probed."
        return CAUSE.cause(says).model_copy(update={"evidence_for": (says, missing), "open": True})
    winning, sign = (better, 1) if case.gap.value > 0 else (worse, -1)
    items = np.array([domain_of.get(id) in winning for id in case.ids], dtype=np.float64)
    side = "A" if sign > 0 else "B"
    return Prediction(
        CAUSE,
        items,
        f"items of {prose.names(winning)}",
        sign,
        says[:-1],
        f", and on items of {prose.names(winning)}, where {side}'s base is better, {side} scores higher.",
        says,
    )
