"""What the judge was shown: the panel's verdicts of each side, in which prompts, and where each answer stood."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from equiloss.records.verdict import Verdict
from judge.data.verdicts import Panel
from judge.diagnose.case import Arm, Case

Place = tuple[str, int, int, str]
"""Where an answer was shown: request, repeat, position, and for whom."""
Places = dict[str, set[Place]]


@dataclass(frozen=True)
class Shown:
    """The panel's verdicts of one arm, and where each stood."""

    verdicts: list[Verdict]

    @cached_property
    def prompts(self) -> set[tuple[str, int, str, str]]:
        """The prompts: (item, repeat, request, and whose answer it is where it was shown alone).

        Equal answers may share a place, which `group` does not show; alone, they make equal requests at two times.
        """
        return {(v.id, v.repeat, v.request_sha, "" if len(v.group) > 1 else _sharers(v)) for v in self.verdicts}

    @cached_property
    def resolved(self) -> Counter[str]:
        """Which models answered as the judge, and how often."""
        return Counter(v.judge_resolved for v in self.verdicts)


def panel_of(case: Case) -> Panel:
    """The rubric and judge of the case's scores. Raises: ValueError where nothing was judged."""
    if case.panel is None:
        raise ValueError("not judged")
    return case.panel


def shown_of(arm: Arm, panel: Panel) -> Shown:
    """The panel's verdicts of one arm."""
    return Shown([v for run in arm.runs for v in run.verdicts_of(panel)])


def _sharers(v: Verdict) -> str:
    """All who gave this answer and were judged by it being shown once, the verdict's own model among them."""
    others = cast("list[str]", (v.model_extra or {}).get("shared_with") or [])
    return "\n".join(sorted({v.generator, *others}))


def places_of(arm: Arm, panel: Panel) -> list[Places]:
    """Where each run's answers were shown. Equal answers may have been shown once, for all that gave them."""
    rows: list[Places] = []
    for run in arm.runs:
        places: Places = {}
        for v in run.verdicts_of(panel):
            places.setdefault(v.id, set()).add((v.request_sha, v.repeat, v.position, _sharers(v)))
        rows.append(places)
    return rows


def shown_once(case: Case) -> NDArray[np.bool_]:
    """Items on which A's and B's answers were the same, and shown in the same places for both (I,)."""
    both = [places_of(arm, panel_of(case)) for arm in case.arms]
    nowhere: set[Place] = set()
    at = [[set[Place]().union(*(row.get(one, nowhere) for row in rows)) for one in case.ids] for rows in both]
    return np.array([a == b for a, b in zip(*at, strict=True)], dtype=np.bool_)
