"""Composition: equal mean loss, made of domains in which one base model is better and domains in which it is worse.

Tested where `pretrain eval` wrote per-document losses of both: domains that differ by more than the margin and beyond
noise, in both directions. It is a cause of the gap only where the gap follows, item by item, how much likelier each
base model finds the reference answer (`items.answer_loss`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from judge.diagnose import prose
from judge.diagnose.inputs import Case
from judge.diagnose.measures import Measure
from judge.diagnose.mediation import mediated
from judge.diagnose.premise import comparable
from judge.diagnose.records import Cause
from judge.diagnose.shares import ALPHA, explains
from pretrain.equivalence import MARGIN_NATS, compare
from pretrain.errors import InputError

SOURCE = "a mean over domains can be equal in many ways; no paper"


def domains(case: Case) -> list[dict[str, Any]]:
    """The difference in loss by domain, A minus B; [] without evaluations of both on the same documents."""
    try:
        first, second = comparable(case)
    except InputError:
        return []
    return cast("list[dict[str, Any]]", compare(first, second)["domains"])


def test(case: Case, a: Mapping[str, Measure], b: Mapping[str, Measure]) -> Cause | None:
    """Whether domains differ in both directions, and the gap follows the answers' likelihood; None if not tested."""
    rows = domains(case)
    if len(rows) < 2 or case.gap is None:
        return None
    apart = [row for row in rows if row["p_holm"] is not None and row["p_holm"] < ALPHA]
    apart = [row for row in apart if abs(row["value"]) > MARGIN_NATS]
    better = [row["name"] for row in apart if row["value"] < 0]
    worse = [row["name"] for row in apart if row["value"] > 0]
    if not better or not worse:
        says = "The base models do not differ by domain in both directions beyond the margin."
        return Cause(
            id="composition",
            level=5,
            title="different domains in one mean",
            status="excluded",
            says=says,
            evidence_against=(says,),
            source=SOURCE,
        )
    says = (
        f"Behind the equal mean, A's base is better on {prose.names(better)} and worse on {prose.names(worse)} "
        f"than B's."
    )
    name = "items.answer_loss"
    if name not in a or name not in b:
        share, pattern, contradicts = None, "The answers' likelihood under the base models was not probed.", False
    else:
        share, pattern, contradicts = mediated(case, case.gap, a[name], b[name], -1)
    return Cause(
        id="composition",
        level=5,
        title="different domains in one mean",
        status="supported" if explains(share) else "possible",
        share=share,
        share_method=share.method if share else "",
        says=says,
        evidence_for=(says, *(() if contradicts else (pattern,))),
        evidence_against=(pattern,) if contradicts else (),
        source=SOURCE,
    )
