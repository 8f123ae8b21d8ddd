"""Every sentence that a diagnosis says, made from numbers; a sentence that claims something checks that it is so."""

from __future__ import annotations

from collections.abc import Sequence

from equiloss.numerals import estimated, significant
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.gap import Gap


def names(items: Sequence[str]) -> str:
    """A list in words: "a", "a and b", "a, b and c"."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "nothing"


def alternatives(items: Sequence[str]) -> str:
    """A choice in words, as a sentence begins: "A or b", "A, b or c"."""
    text = f"{', '.join(items[:-1])} or {items[-1]}" if len(items) > 1 else items[0]
    return text[:1].upper() + text[1:]


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


def gap_is_real(a: str, b: str, gap: Estimate, unit: str) -> str:
    """For a gap whose interval over `unit` leaves out 0."""
    if not gap.excludes(0.0):
        raise ValueError("a gap whose interval holds 0 is not real")
    return f"The gap is more than noise over {unit}: {_higher(a, b, gap)}."


def gap_of_these_answers(a: str, b: str, gap: Gap) -> str:
    """For one fine-tuning seed a side: what items alone say, and what seeds would have to do."""
    shown = "differ by more than noise over items" if gap.estimate.excludes(0.0) else "do not differ beyond items"
    return f"These two sets of answers {shown} ({_higher(a, b, gap.estimate)}, over items alone): {one_seed(gap)}"


def one_seed(gap: Gap) -> str:
    """What one fine-tuning seed a side leaves open, and how far seeds would have to spread for the gap to be chance."""
    says = "with one fine-tuning seed a side, what other seeds would do is not measured"
    spread = gap.split.spread_of_chance() if gap.split else 0.0
    return says + (f"; the gap is chance if the SD between seeds is {significant(spread)} or more." if spread else ".")


def gap_is_noise(a: str, b: str, gap: Estimate, least: float | None, unit: str) -> str:
    """For a gap that is 0 or whose interval holds 0; `least`: what would be detected, None where it is not known."""
    if gap.excludes(0.0):
        raise ValueError("a gap whose interval leaves out 0 is more than noise")
    if gap.value == 0 and gap.low == gap.high:
        return f"There is no gap: {a} and {b} have the same scores."
    missed = "" if least is None else f"; a gap below {significant(least)} would be missed more than one time in five"
    return f"The gap is not told from noise over {unit}: {a} minus {b} is {estimated(gap)}{missed}."


def detectable(least: float, items: int, seeds_a: int, seeds_b: int) -> str:
    """What the design could find."""
    return (
        f"With {items} items, {seeds_a} and {seeds_b} seeds, a gap of {significant(least)} is found four times in five."
    )


def seed_spread(a: float | None, b: float | None) -> str:
    """How far the seeds of each side lie apart."""
    if a is None and b is None:
        return "One fine-tuning seed a side: the spread over seeds is not measured."
    known = [f"{significant(v)} for {side}" for side, v in (("A", a), ("B", b)) if v is not None]
    rest = "" if a is not None and b is not None else "; the other side has one seed and is taken to vary as much"
    return f"Standard deviation of the mean score over fine-tuning seeds: {names(known)}{rest}."


def repeat_spread(spread: float, repeats: int) -> str:
    """How much the judge varies on one answer."""
    return f"Asked up to {repeats} times about one answer, the judge's standard deviation is {significant(spread)}."
