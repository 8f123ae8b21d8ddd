"""When a share of the gap is enough: the rule that every level names its causes by."""

from __future__ import annotations

from collections.abc import Sequence

from equiloss.records.diagnosis import Cause
from equiloss.statistics.estimate import Estimate

ACCOUNTS = 0.5
"""A level accounts for the gap when it explains at least half of it and the share's interval leaves out 0."""
ALPHA = 0.01
"""Each artefact is tested at 1 %: four of them together at less than 5 %."""
UNPREDICTED = "regression of the item's gap on the difference in agreement"
"""The share of the gap that the reference score does not predict: the judge made it, but by which artefact is open."""


def explains(share: Estimate | None) -> bool:
    """Whether a share is at least half and its interval leaves out 0."""
    return share is not None and share.value >= ACCOUNTS and share.low is not None and share.low > 0


def best_cause(causes: Sequence[Cause]) -> Cause | None:
    """The supported cause that explains the largest share, if one explains enough."""
    enough = [one for one in causes if one.status == "supported" and explains(one.share)]
    return max(enough, key=lambda one: one.share.value if one.share else 0.0, default=None)


def best_artefact(causes: Sequence[Cause]) -> Cause | None:
    """The artefact that explains most; one that was measured goes before one that only could have made the gap."""
    measured = [one for one in causes if one.share is not None and one.share.method != UNPREDICTED]
    return best_cause(measured) or best_cause(causes)
