"""When a share of the gap is enough to name a cause, and what elimination and reruns make of a cause."""

from __future__ import annotations

from collections.abc import Sequence

from equiloss.numerals import estimated_share
from equiloss.records.counterfactual import Tried
from equiloss.records.diagnosis import Cause
from equiloss.statistics.estimate import Estimate
from judge.diagnose.case import Case

ACCOUNTS = 0.5
"""A level accounts for the gap when it explains at least half of it and the share's interval leaves out 0."""
ALPHA = 0.01
"""Each artefact is tested at 1 %: four of them together at less than 5 %."""


def explains(share: Estimate | None) -> bool:
    """Whether a share is at least half and its interval leaves out 0."""
    return share is not None and share.value >= ACCOUNTS and share.low is not None and share.low > 0


def best_cause(causes: Sequence[Cause]) -> Cause | None:
    """The supported cause that explains the largest share, if one explains enough."""
    enough = [one for one in causes if one.status == "supported" and explains(one.share)]
    return max(enough, key=lambda one: one.share.value if one.share else 0.0, default=None)


def best_artefact(causes: Sequence[Cause]) -> Cause | None:
    """The artefact that explains most; one that was measured goes before one that only could have made the gap."""
    return best_cause([one for one in causes if one.basis != "remainder"]) or best_cause(causes)


def first_supported(causes: Sequence[Cause]) -> Cause | None:
    """The first supported cause of a level that ranks its causes itself."""
    return next((one for one in causes if one.status == "supported"), None)


def by_elimination(cause: Cause, case: Case, says: str) -> Cause:
    """A cause that is all that differs: it explains the true gap wholly, known as well as the gap itself."""
    share = None
    if case.gap is not None and case.gap.value != 0 and case.gap.estimate.low is not None:
        low, high = sorted(one / case.gap.value for one in case.gap.estimate.interval)
        share = Estimate(value=1.0, low=low, high=high, unit="share", method="the only recorded difference")
    return cause.model_copy(
        update={
            "status": "supported",
            "share": share,
            "share_method": "by elimination: nothing else that is recorded differs",
            "basis": "elimination",
            "says": says,
            "evidence_for": (says, *(one for one in cause.evidence_for if one != cause.says)),
        }
    )


def by_rerun(cause: Cause, rerun: Tried) -> Cause:
    """A cause with what `study explain` has measured: made equal and run again, how much of the gap closes."""
    closes = rerun.share is not None and rerun.share.low is not None and rerun.share.low > 0
    share = estimated_share(rerun.share) if rerun.share else "an unknown share"
    how = "made equal and run again" if cause.level == 4 else f"with {rerun.side}'s base model {rerun.changed}"
    closed = f"{how}, {share} of the gap closes"
    status = "supported" if closes else "excluded" if rerun.settled else cause.status
    says = f"{cause.says[:-1]}; {closed}." if closes else cause.says
    return cause.model_copy(
        update={
            "status": status,
            "share": rerun.share,
            "share_method": "made equal and run again",
            "basis": "rerun",
            "says": says,
            "evidence_for": (says,) if closes else () if status == "excluded" else cause.evidence_for,
            "evidence_against": cause.evidence_against if closes else (*cause.evidence_against, closed),
        }
    )
