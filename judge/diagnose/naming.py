"""From what the levels tested to contributions in points: correction, what stronger evidence leaves, what is named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from equiloss.numerals import estimated, estimated_share, percent, significant
from equiloss.records.counterfactual import Tried
from equiloss.records.diagnosis import Cause, Contribution, Grade, Level
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate, student
from equiloss.statistics.gap import Gap
from equiloss.statistics.multiplicity import holm
from equiloss.statistics.regression import Regression, standard_error

ACCOUNTS = 0.5
"""What is named carries at least half of the gap."""
MENTIONED = 0.25
"""A further cause is named beside the first (or against it) from a quarter of the gap on."""
ALPHA = 0.01
"""What a cause must show before its points count (a bias, a fault's rate) is tested at 1 %."""
CORRECTED = 0.05
"""The points of all causes are tested at 5 % together (Holm)."""
STRENGTH: dict[Grade, int] = {"measured": 0, "adjusted": 1, "located": 2, "suspected": 3}


def share_of(points: Estimate, gap: float) -> Estimate | None:
    """Points as a share of the gap, which is taken as it is; None where there is no gap."""
    if gap == 0:
        return None
    bounds = (points.low, points.high)
    ends = sorted(end / gap for end in bounds if end is not None)
    low, high = ends if len(ends) == 2 else (None, None)
    return Estimate(value=points.value / gap, low=low, high=high, unit="share", method=points.method)


def of_adjustment(gap: Gap, a: Floats, b: Floats, method: str) -> Estimate:
    """The points that a cause makes of the gap, from the points that it makes of each score: A (S_a, I), B (S_b, I)."""
    made = Gap(a, b, gap.ids, gap.categories, gap.unit, gap.bases)
    return made.estimate.model_copy(update={"method": method})


def of_regression(fit: Regression, values: Floats, unit: str) -> Estimate:
    """The points that the first column of a regression makes at the mean of its values, by the delta method."""
    slope, mean = float(fit.coefficients[1]), float(values.mean())
    error = math.hypot(float(fit.errors[1]) * mean, slope * (standard_error(values) or 0.0))
    return student(slope * mean, error, fit.df, unit=unit, method="adjusted by regression")


def by_rerun(cause: Cause, rerun: Tried, gap: float) -> Cause:
    """A cause with what `study explain` measured: made equal and run again, how much of the gap closes."""
    if rerun.share is None:
        return cause
    points = rerun.points or _points_closed(rerun.share, gap)
    how = "made equal and run again" if cause.level in (3, 4) else f"with {rerun.side}'s base model {rerun.changed}"
    closed = f"{how}, {estimated_share(rerun.share)} of the gap closes"
    closes = rerun.share.excludes(0.0)
    beside: tuple[str, ...] = ()
    if rerun.in_lower is not None and rerun.in_higher is not None:
        both = f"{estimated(rerun.in_lower)} points in {rerun.side}, {estimated(rerun.in_higher)} in the other"
        beside = (f"by direction: {both}", *([rerun.note] if rerun.note else []))
    return cause.model_copy(
        update={
            "status": "excluded" if rerun.settled and not closes else cause.status,
            "grade": "measured",
            "points": points,
            "open": not (rerun.settled or closes),
            "says": f"{cause.says[:-1]}; {closed}." if closes else cause.says,
            "evidence_for": (*cause.evidence_for, *([closed, *beside] if closes else [])),
            "evidence_against": (*cause.evidence_against, *([] if closes else [closed, *beside])),
        }
    )


def _points_closed(share: Estimate, gap: float) -> Estimate:
    from scipy.special import ndtr, ndtri

    ends = [share.low, share.high]
    low, high = sorted(end * gap for end in ends if end is not None) if None not in ends else (None, None)
    p = share.p
    if p is None and low is not None and high is not None and high > low:
        p = float(2 * ndtr(-abs(share.value * gap) / ((high - low) / (2 * ndtri(0.975)))))
    return Estimate(value=share.value * gap, low=low, high=high, unit="points", p=p, method="made equal and run again")


def settle(gap: Gap, levels: Sequence[Level]) -> tuple[tuple[Level, ...], list[Cause]]:
    """The levels with their causes' contributions corrected for each other, and all causes, each id once."""
    causes = [cause for level in levels for cause in level.causes]
    corrected = holm([None if one.points is None else one.points.p for one in causes])
    settled: list[Cause] = []
    for cause, p in zip(causes, corrected, strict=True):
        if cause.points is None:
            settled.append(cause)
            continue
        passes = p is not None and p < CORRECTED
        small = cause.points.low is not None and max(map(abs, cause.points.interval)) < ACCOUNTS * abs(gap.value)
        status = "supported" if passes else "excluded" if small or cause.status == "excluded" else "possible"
        settled.append(cause.model_copy(update={"status": status}))
    settled = [_with_share(one, gap.value) for one in _left_by_stronger(settled, gap.value)]
    of_level = [[one for one in settled if one.level == level.number] for level in levels]
    return (
        tuple(_outcome(level, own) for level, own in zip(levels, of_level, strict=True)),
        _merged(settled),
    )


def _with_share(cause: Cause, gap: float) -> Cause:
    return cause if cause.points is None else cause.model_copy(update={"share": share_of(cause.points, gap)})


def _strength(cause: Cause) -> float:
    """The lower the stronger; what could only have made its points comes after what was seen to make them."""
    return STRENGTH[cause.grade] + (0.5 if cause.indirect else 0.0)


def _left_by_stronger(causes: Sequence[Cause], gap: float) -> list[Cause]:
    """No cause carries more than the supported causes of stronger evidence leave of the gap.

    What was done to a base model and what it then cannot do are one chain: they do not bound each other.
    """
    order = sorted(range(len(causes)), key=lambda place: _strength(causes[place]))
    bounded: list[Cause] = []
    for cause in (causes[place] for place in order):
        if cause.points is not None and cause.points.value * gap > 0 and _strength(cause) > 0:
            stronger = sum(
                one.points.value
                for one in _once(bounded)
                if one.points is not None
                and one.status == "supported"
                and one.points.value * gap > 0
                and _strength(one) < _strength(cause)
                and not (one.level == cause.level == 5)
            )
            left = max(0.0, abs(gap) - abs(stronger))
            if stronger and abs(cause.points.value) > left:
                cause = cause.model_copy(update={"points": at_most(cause.points, left, left)})
                if left == 0.0:
                    says = "stronger evidence leaves nothing of the gap for it"
                    against = (*cause.evidence_against, says)
                    cause = cause.model_copy(update={"status": "excluded", "open": False, "evidence_against": against})
        bounded.append(cause)
    return [cause for _, cause in sorted(zip(order, bounded, strict=True), key=lambda one: one[0])]


def at_most(points: Estimate, bound: float, bound_high: float) -> Estimate:
    """Points of no larger size than a bound; the interval's outer end no larger than the bound's own upper end.

    Where even the inner end is larger than the bound, something else made some of these points for sure, and perhaps
    nearly all of them: the inner end is then 0.
    """
    sign = 1.0 if points.value >= 0 else -1.0
    value = min(abs(points.value), bound)
    ends = sorted(sign * end for end in (points.low, points.high) if end is not None)
    if len(ends) < 2:
        return points.model_copy(update={"value": sign * value})
    inner = min(ends[0], value) if ends[0] <= bound else 0.0
    outer = max(value, min(ends[1], bound_high))
    low, high = sorted((sign * inner, sign * outer))
    return points.model_copy(update={"value": sign * value, "low": low, "high": high})


def _merged(causes: Sequence[Cause]) -> list[Cause]:
    """Each id once: the strongest evidence, with what the other levels say of it.

    What mending the answers gains bounds no recorded difference in how they were taught or generated: until a rerun
    has measured it, that one stays open, and where what was mended shows nothing it is what is told.
    """
    merged: dict[str, Cause] = {}
    for cause in sorted(causes, key=lambda one: (one.points is None, _strength(one))):
        first = merged.setdefault(cause.id, cause)
        if first is cause:
            continue
        said = tuple(one for one in cause.evidence_for if one not in first.evidence_for)
        first = first.model_copy(update={"evidence_for": (*first.evidence_for, *said)})
        if cause.open and cause.level in (3, 4) and first.grade != "measured":
            first = first.model_copy(update={"open": True, "command": cause.command or first.command})
            if not carries(first):
                told = {"title": cause.title, "prior": cause.prior}
                status = {"status": cause.status, "says": cause.says} if first.status != "supported" else {}
                first = first.model_copy(update={**told, **status})
        merged[cause.id] = first
    return list(merged.values())


def _outcome(level: Level, causes: Sequence[Cause]) -> Level:
    """A level of 2 to 5 with its settled causes: it accounts for the gap where one of them carries half of it."""
    best = max((one for one in causes if carries(one)), key=_size, default=None)
    if best is None or level.number < 2:
        return level.model_copy(update={"causes": tuple(causes)})
    says = f"{best.says} {carried(best)}"
    changes = {"status": "accounts", "says": says, "effect": best.share, "share": best.share, "causes": tuple(causes)}
    return level.model_copy(update={**changes, "command": best.command or level.command, "missing": ()})


def carries(cause: Cause) -> bool:
    """Whether a cause is supported with at least half of the gap."""
    return cause.status in ("supported", "named") and cause.share is not None and cause.share.value >= ACCOUNTS


def carried(cause: Cause) -> str:
    """How much of the gap a cause carries, as a sentence."""
    assert cause.points is not None
    assert cause.share is not None
    return f"That is {in_words(cause.share.value)} of the gap ({in_points(cause.points)})."


def in_points(points: Estimate) -> str:
    """Points with their interval: "33.9 points, 95 % interval 26.2 to 41.6"."""
    text = f"{significant(points.value)} points"
    if points.low is None or points.high is None:
        return text
    return f"{text}, 95 % interval {significant(points.low)} to {significant(points.high)}"


def in_words(share: float) -> str:
    """A share below a half as people say it, else in per cent: "about a third", "about 85 %"."""
    for limit, words in ((0.02, "next to nothing"), (0.15, "about a tenth"), (0.22, "about a fifth")):
        if abs(share) < limit:
            return words
    for limit, words in ((0.29, "about a quarter"), (0.42, "about a third"), (ACCOUNTS, "less than half")):
        if abs(share) < limit:
            return words
    return f"about {percent(abs(share))}" if abs(share) < 0.95 else "all" if abs(share) < 1.1 else "more than all"


def _size(cause: Cause) -> float:
    return abs(cause.points.value) if cause.points is not None else 0.0


def shown(causes: Sequence[Cause]) -> list[tuple[Cause, Estimate]]:
    """The supported causes with their points, one of each tie."""
    supported = _once([one for one in causes if one.status in ("supported", "named")])
    return [(one, one.points) for one in supported if one.points is not None]


def _once(causes: Sequence[Cause]) -> list[Cause]:
    """The causes with one of each tie."""
    kept: list[Cause] = []
    for cause in causes:
        if not any(one.id in cause.tied for one in kept):
            kept.append(cause)
    return kept


@dataclass(frozen=True)
class Naming:
    """What is named, the largest first; what would be but for open rivals; and the rivals."""

    named: tuple[Cause, ...] = ()
    blocked: tuple[Cause, ...] = ()
    rivals: tuple[Cause, ...] = ()


def name(causes: Sequence[Cause], barred: Sequence[int] = ()) -> Naming:
    """The causes that account for the gap together: supported, at least half of it, no open rival of equal reach.

    Causes of the levels `barred` are not named.
    """
    found = [one for one in causes if one.status == "supported" and one.share and abs(one.share.value) >= MENTIONED]
    found = sorted((one for one in found if one.level not in barred), key=_size, reverse=True)
    rivals = {one.id: rivals_of(one, causes) for one in found}
    free = [one for one in found if not rivals[one.id]]
    held = tuple(one for one in found if rivals[one.id])
    against = tuple({rival.id: rival for one in held for rival in rivals[one.id]}.values())
    agreeing = [one for one in free if one.share is not None and one.share.value > 0]
    if sum(one.share.value for one in _once(agreeing) if one.share) < ACCOUNTS:
        return Naming((), held, against)
    return Naming((*agreeing, *(one for one in free if one not in agreeing)), held, against)


def rivals_of(cause: Cause, causes: Sequence[Cause]) -> list[Cause]:
    """Open suspects that could carry as much as a cause whose test shows only that it could have.

    How a base model was made lies upstream of what it cannot do, and is no rival of it.
    """
    levels = (3, 4) if cause.level == 5 else (3, 4, 5)
    return [one for one in causes if one.open and one.level in levels and one.id != cause.id] if cause.indirect else []


def contributions(causes: Sequence[Cause]) -> tuple[Contribution, ...]:
    """Every cause's contribution, the largest first, then those without numbers."""
    return tuple(
        Contribution(
            cause=one.id,
            points=one.points.value if one.points else None,
            low=one.points.low if one.points else None,
            high=one.points.high if one.points else None,
            grade=one.grade,
            status=one.status,
        )
        for one in sorted(causes, key=lambda one: (one.points is None, -_size(one)))
    )


def unexplained(gap: Estimate, causes: Sequence[Cause]) -> Estimate:
    """What the supported causes leave of the gap, with an interval as if all of them were independent."""
    return left(gap, [points for _, points in shown(causes)])


def left(gap: Estimate, parts: Sequence[Estimate]) -> Estimate:
    """The gap without these parts of it, as if all were independent."""
    value = gap.value - sum(one.value for one in parts)
    value = 0.0 if abs(value) < 1e-9 * abs(gap.value) else value
    method = "the gap minus its contributions, as if they were independent"
    bounds = [(one.low, one.high) for one in (gap, *parts)]
    if any(None in ends for ends in bounds):
        return Estimate(value=value, unit=gap.unit, method=method, note="a contribution has no interval")
    half = math.sqrt(sum(((high or 0.0) - (low or 0.0)) ** 2 / 4 for low, high in bounds))
    return Estimate(value=value, low=value - half, high=value + half, unit=gap.unit, method=method)
