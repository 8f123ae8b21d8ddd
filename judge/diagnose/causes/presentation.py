"""What the judge was shown: the panel's verdicts of each side, in which prompts, and where each answer stood."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from equiloss.records.verdict import Verdict
from judge.data.verdicts import Panel
from judge.diagnose.case import Arm, Case

Place = tuple[str, int, int, str]
"""Where an answer was shown: request, repeat, position, and for whom."""
Places = dict[str, set[Place]]
"""The places of each item's answer."""


def panel_of(case: Case) -> Panel:
    """The rubric and judge of the case's scores. Raises: ValueError where nothing was judged."""
    if case.panel is None:
        raise ValueError("not judged")
    return case.panel


def verdicts_of(case: Case, arm: Arm) -> list[Verdict]:
    """The panel's verdicts of one arm."""
    return [verdict for run in arm.runs for verdict in run.verdicts_of(panel_of(case))]


def prompts_of(verdicts: Iterable[Verdict]) -> set[tuple[str, int, str, str]]:
    """The prompts: (item, repeat, request, and whose answer it is where it was shown alone).

    Equal answers may share a place, which `group` does not show; alone, they make equal requests at two times.
    """
    return {(v.id, v.repeat, v.request_sha, "" if len(v.group) > 1 else _sharers(v)) for v in verdicts}


def _sharers(verdict: Verdict) -> str:
    """All who gave this answer and were judged by it being shown once, the verdict's own model among them."""
    if not verdict.shared_with:
        return verdict.generator
    return "\n".join(sorted({verdict.generator, *verdict.shared_with}))


def places_of(verdicts: Iterable[Verdict]) -> Places:
    """Where answers were shown. Equal answers may have been shown once, for all that gave them."""
    places: Places = {}
    for verdict in verdicts:
        place = (verdict.request_sha, verdict.repeat, verdict.position, _sharers(verdict))
        places.setdefault(verdict.id, set()).add(place)
    return places


def shown_once(case: Case) -> NDArray[np.bool_]:
    """Items on which A's and B's answers were the same, and shown in the same places for both (I,)."""
    a, b = (places_of(verdicts_of(case, arm)) for arm in case.arms)
    return np.array([a.get(id) == b.get(id) for id in case.ids], dtype=np.bool_)
