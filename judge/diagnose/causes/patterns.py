"""A cause in the base model from its two tests: does its measure fit the gap, and does the gap follow its pattern?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from equiloss.records.diagnosis import Cause, CauseStatus
from equiloss.statistics.estimate import Estimate
from judge.diagnose.naming import explains


class Pattern(NamedTuple):
    """Whether the gap follows a cause over items: the share of it that does, a sentence, whether that speaks against.

    No share where it does not, or where there are too few items to see.
    """

    share: Estimate | None
    says: str
    contradicts: bool


def misfit(effect: Estimate, least: float, direction: float) -> str:
    """Why a difference A minus B in a measure makes no gap of the sign of `direction`; "" where it could."""
    if not effect.excludes(0.0):
        return "is within noise"
    if abs(effect.value) < least:
        return "is too small to matter"
    return "" if effect.value * direction > 0 else "has the wrong direction"


@dataclass(frozen=True)
class BaseCause:
    """What could be wrong with a base model, by its id in the document, and what says so."""

    id: str
    title: str
    source: str

    def excluded(self, says: str) -> Cause:
        """One test rules it out."""
        return self._cause("excluded", says).model_copy(update={"evidence_against": (says,)})

    def by_pattern(self, pattern: Pattern, told: str, where: str, measured: str | None = None) -> Cause:
        """It fits the gap by its measure, and is supported where the gap follows its pattern over items.

        `told`: its sentence without the end, which is `where` when supported; `measured`: the evidence, else that
        sentence.
        """
        supported = explains(pattern.share)
        says = told + (where if supported else ".")
        follows = (pattern.says,) if pattern.says else ()
        return self._cause("supported" if supported else "possible", says).model_copy(
            update={
                "share": pattern.share,
                "share_method": pattern.share.method if pattern.share else "",
                "evidence_for": (measured or says, *(() if pattern.contradicts else follows)),
                "evidence_against": follows if pattern.contradicts else (),
            }
        )

    def _cause(self, status: CauseStatus, says: str) -> Cause:
        return Cause(id=self.id, level=5, title=self.title, status=status, says=says, source=self.source)
