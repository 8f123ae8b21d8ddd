"""Every sentence that a diagnosis says, made from numbers; a sentence that claims something checks that it is so."""

from __future__ import annotations

from collections.abc import Sequence

from equiloss.statistics.estimate import Estimate


def number(value: float) -> str:
    """Three significant digits, without an exponent, with a real minus sign's place taken by "-"."""
    if value == 0:
        return "0"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    return f"{value:.{digits}f}"


def span(estimate: Estimate) -> str:
    """The number with its interval: "4.10 (95 % interval 2.00 to 6.20)"."""
    if estimate.low is None or estimate.high is None:
        return number(estimate.value)
    return (
        f"{number(estimate.value)} ({100 * estimate.confidence:.0f} % interval "
        f"{number(estimate.low)} to {number(estimate.high)})"
    )


def percent(value: float) -> str:
    """A share as whole per cent."""
    return f"{100 * value:.0f} %"


def share(estimate: Estimate) -> str:
    """A share of the gap with its interval, in per cent."""
    if estimate.low is None or estimate.high is None:
        return percent(estimate.value)
    return f"{percent(estimate.value)} (95 % interval {percent(estimate.low)} to {percent(estimate.high)})"


def names(items: Sequence[str]) -> str:
    """A list in words: "a", "a and b", "a, b and c"."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "nothing"


def _higher(a: str, b: str, gap: Estimate) -> str:
    first, second = (a, b) if gap.value >= 0 else (b, a)
    flipped = gap if gap.value >= 0 else flip(gap)
    return f"{first} scores {number(abs(gap.value))} higher than {second}, interval {_range(flipped)}"


def flip(gap: Estimate) -> Estimate:
    """The estimate with its sign turned."""
    low = None if gap.high is None else -gap.high
    high = None if gap.low is None else -gap.low
    return gap.model_copy(update={"value": -gap.value, "low": low, "high": high})


def _range(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "unknown"
    return f"{number(estimate.low)} to {number(estimate.high)}"


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
        f"The gap is within noise: {a} minus {b} is {span(gap)}; a gap below {number(least)} would be missed more "
        f"than one time in five."
    )


def detectable(least: float, items: int, seeds_a: int, seeds_b: int) -> str:
    """What the design could find."""
    seeds = f"{seeds_a} and {seeds_b} seeds" if max(seeds_a, seeds_b) > 1 else "one seed a side"
    return f"With {items} items and {seeds}, a gap of {number(least)} is found four times in five."


def seed_spread(a: float | None, b: float | None) -> str:
    """How far the seeds of each side lie apart."""
    if a is None and b is None:
        return "One fine-tuning seed a side: the spread over seeds is not measured."
    told = [f"{number(v)} for {side}" for side, v in (("A", a), ("B", b)) if v is not None]
    rest = "" if a is not None and b is not None else "; the other side has one seed and is taken to vary as much"
    return f"Standard deviation of the mean score over fine-tuning seeds: {names(told)}{rest}."


def repeat_spread(spread: float, repeats: int) -> str:
    """How much the judge varies on one answer."""
    return f"Asked up to {repeats} times about one answer, the judge's standard deviation is {number(spread)}."
