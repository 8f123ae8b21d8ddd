"""A cause in the base model from its two tests: its measure differs, and the gap lies on the items that it predicts.

All causes whose measures differ are fitted together (`equiloss.statistics.contributions`), so that what two of them
predict is not counted twice, and causes that pull against each other both show. What other items lose is taken off, and
the interval reaches to where it is not. A cause carries no more points than its measure's difference can make (its
dose): base models that complete 80 and 100 % of some facts cannot score more than 20 % of the scale apart on questions
of such facts. Causes that predict nearly the same items are tied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equiloss.numerals import estimated, significant
from equiloss.records.diagnosis import Cause
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.contributions import LEAST_ITEMS, parts, reaching
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.gap import Gap
from judge.diagnose.case import Case
from judge.diagnose.naming import at_most

TIED = 0.9
"""The correlation over items from which two causes' predictions are the same."""


@dataclass(frozen=True)
class BaseCause:
    """What could be wrong with a base model, by its id in the document, and what says so."""

    id: str
    title: str
    source: str

    def excluded(self, says: str) -> Cause:
        """One test rules it out."""
        return self.cause(says).model_copy(update={"status": "excluded", "evidence_against": (says,)})

    def cause(self, says: str) -> Cause:
        """It is possible, by this sentence."""
        return Cause(id=self.id, level=5, title=self.title, status="possible", says=says, source=self.source)


@dataclass(frozen=True)
class Prediction:
    """A cause whose measure differs, and what it predicts of the gap.

    `items` (I,): 1 where it predicts a gap, or how much of it; `expected`: the sign of its points, A minus B; `dose`:
    the share of the scale by which the scores of such an item can differ at most for it, with an interval (None: not
    bounded, as the mean loss of a domain bounds nothing: a difference may lie in few tokens); `kind` names the items;
    `says` is its sentence without the end, which is `where` if the gap does lie there; `measured` is the evidence.
    """

    cause: BaseCause
    items: Floats
    kind: str
    expected: int
    says: str
    where: str
    measured: str
    dose: Estimate | None = None


def dose_of_answers(a: float, b: float) -> float:
    """The most by which answers can differ where a and b are the shares of them that are right, in 0 to 1."""
    return abs(a - b)


def dose_of_tokens(a: float, b: float) -> float:
    """The most by which the chances of whole answers can differ where a token's chances are a and b, in 0 to 1.

    An answer of n tokens is right with the n-th power of the chance; n may be anything.
    """
    return max(abs(a**n - b**n) for n in range(1, 65))


def located(case: Case, predictions: Sequence[Prediction]) -> list[Cause]:
    """Each prediction's cause, with the points that the gap shows on its items where it can be told."""
    gap = case.gap
    if gap is None:
        return []
    known = ~np.isnan(gap.paired)
    causes: dict[str, Cause] = {}
    testable: list[Prediction] = []
    for one in predictions:
        inside = int((one.items[known] != 0).sum())
        outside = int(known.sum()) - inside
        if min(inside, outside) >= LEAST_ITEMS:
            testable.append(one)
        else:
            few = f"There are {inside} {one.kind} and {outside} others: too few to see where the gap lies."
            cause = one.cause.cause(f"{one.says}.")
            causes[one.cause.id] = cause.model_copy(update={"evidence_for": (one.measured, few), "open": True})
    groups = _tied(testable, known)
    strata = [*gap.sides[0].strata(known, 1.0), *gap.sides[1].strata(known, -1.0, 1)]
    pattern = np.column_stack([group[0].items[known] for group in groups]) if groups else np.empty((0, 0))
    both = [parts(strata, pattern, alone=alone) if groups else None for alone in (False, True)]
    for index, group in enumerate(groups):
        estimates = [each.parts[index].estimate(gap.unit, "where the gap lies") for each in both if each is not None]
        points = reaching(*estimates) if len(estimates) == len(both) else None
        for one in group:
            causes[one.cause.id] = _located(case, gap, one, points, [other for other in group if other is not one])
    return [causes[one.cause.id] for one in predictions]


def _tied(predictions: Sequence[Prediction], known: np.ndarray) -> list[list[Prediction]]:
    groups: list[list[Prediction]] = []
    for one in predictions:
        for group in groups:
            if float(np.corrcoef(one.items[known], group[0].items[known])[0, 1]) >= TIED:
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _located(case: Case, gap: Gap, one: Prediction, points: Estimate | None, tied: Sequence[Prediction]) -> Cause:
    cause = one.cause.cause(f"{one.says}.")
    if points is None:
        says = "On these items it cannot be told from the other causes."
        return cause.model_copy(update={"evidence_for": (one.measured, says), "open": True})
    chosen = one.items != 0
    inside, outside = (float(np.nanmean(gap.paired[items])) for items in (chosen, ~chosen))
    where = f"The gap is {significant(inside)} on {int(chosen.sum())} {one.kind} and {significant(outside)} "
    where += f"on the others; what follows these items is {estimated(points)} points of it."
    if inside * outside > 0 and points.value * inside > 0:
        where += " Whether what the others lose is the same effect is not known: the interval reaches over both."
    if points.value * one.expected <= 0:
        elsewhere = f"{one.says}, but the gap does not lie on {one.kind}."
        changes = {"status": "excluded", "evidence_for": (one.measured,), "evidence_against": (where,)}
        return cause.model_copy(update={**changes, "says": elsewhere})
    evidence, lies_there = [one.measured, where], points.excludes(0.0)
    if one.dose is not None:
        mix = float(one.items.mean()) * (case.scale[1] - case.scale[0])
        bound, most = one.dose.value * mix, (one.dose.high or one.dose.value) * mix
        if abs(points.value) > bound:
            evidence.append(f"So large a difference in the measure can make {significant(bound)} points at most.")
        points = at_most(points, bound, max(bound, most))
        if lies_there and not points.excludes(0.0):
            evidence.append("Something else is at work on these items too, so how much of that it makes is not known.")
    return cause.model_copy(
        update={
            "grade": "located",
            "points": points,
            "indirect": True,
            "says": one.says + (one.where if lies_there else "."),
            "tied": tuple(other.cause.id for other in tied),
            "evidence_for": tuple(evidence),
        }
    )
