"""Every sentence that a diagnosis says, made from numbers; a sentence that claims something checks that it is so."""

from __future__ import annotations

from collections.abc import Sequence

from equiloss.numerals import estimated, significant
from equiloss.statistics.estimate import Estimate


def names(items: Sequence[str]) -> str:
    """A list in words: "a", "a and b", "a, b and c"."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "nothing"


def lower(sentence: str) -> str:
    """A sentence that goes on after a colon; not for one that begins with a name."""
    return sentence[:1].lower() + sentence[1:]


def measured(measure: str, difference: Estimate) -> str:
    """What a measure of the base models differs by, beginning with what it is; without a full stop."""
    return f"{measure[0].upper()}{measure[1:]}: A minus B is {estimated(difference)}"


def _higher(a: str, b: str, gap: Estimate) -> str:
    first, second = (a, b) if gap.value >= 0 else (b, a)
    low, high = (gap if gap.value >= 0 else flip(gap)).interval
    bounds = f"{significant(low)} to {significant(high)}"
    return f"{first} scores {significant(abs(gap.value))} higher than {second}, interval {bounds}"


def flip(gap: Estimate) -> Estimate:
    """The estimate with its sign turned."""
    low = None if gap.high is None else -gap.high
    high = None if gap.low is None else -gap.low
    return gap.model_copy(update={"value": -gap.value, "low": low, "high": high})


def gap_is_real(a: str, b: str, gap: Estimate) -> str:
    """For a gap whose interval over items and seeds leaves out 0."""
    if not gap.excludes(0.0):
        raise ValueError("a gap whose interval holds 0 is not real")
    return f"The gap is more than noise over items and fine-tuning seeds: {_higher(a, b, gap)}."


def gap_beyond_items(a: str, b: str, gap: Estimate) -> str:
    """For a gap whose interval over items leaves out 0 while seed noise is not measured."""
    if not gap.excludes(0.0):
        raise ValueError("a gap whose interval holds 0 is not beyond the items")
    return (
        f"These two runs differ by more than noise over items ({_higher(a, b, gap)}), but with one fine-tuning seed "
        f"a side the noise of seeds is not measured."
    )


def gap_is_noise(a: str, b: str, gap: Estimate, least: float) -> str:
    """For a gap that is 0 or whose interval holds 0."""
    if gap.excludes(0.0):
        raise ValueError("a gap whose interval leaves out 0 is more than noise")
    if gap.value == 0 and gap.low == gap.high:
        return f"There is no gap: {a} and {b} have the same scores."
    return (
        f"The gap is within noise: {a} minus {b} is {estimated(gap)}; a gap below {significant(least)} would be missed "
        f"more than one time in five."
    )


def detectable(least: float, items: int, seeds_a: int, seeds_b: int) -> str:
    """What the design could find."""
    seeds = f"{seeds_a} and {seeds_b} seeds" if max(seeds_a, seeds_b) > 1 else "one seed a side"
    return f"With {items} items and {seeds}, a gap of {significant(least)} is found four times in five."


def seed_spread(a: float | None, b: float | None) -> str:
    """How far the seeds of each side lie apart."""
    if a is None and b is None:
        return "One fine-tuning seed a side: the spread over seeds is not measured."
    told = [f"{significant(v)} for {side}" for side, v in (("A", a), ("B", b)) if v is not None]
    rest = "" if a is not None and b is not None else "; the other side has one seed and is taken to vary as much"
    return f"Standard deviation of the mean score over fine-tuning seeds: {names(told)}{rest}."


def repeat_spread(spread: float, repeats: int) -> str:
    """How much the judge varies on one answer."""
    return f"Asked up to {repeats} times about one answer, the judge's standard deviation is {significant(spread)}."
