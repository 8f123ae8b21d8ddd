"""Numbers as people read them, in every table, sentence and page: a real minus sign, and a dash where there is none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from equiloss.statistics.estimate import Estimate, Interval

NONE = "–"


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number with fixed digits after the point; with `sign` a positive one gets a plus."""
    if value is None:
        return NONE
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    if not any(character in text for character in "123456789n"):  # zero; `n` stands in inf and nan
        text = text.lstrip("+-")
    return text.replace("-", "−")


def significant(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, but at most one more than them after the point."""
    if not value:
        return NONE if value is None else "0"
    if not math.isfinite(value):
        return number(value)
    places = digits - 1 - math.floor(math.log10(abs(value)))
    if abs(value) < 0.5 * 10.0 ** -(digits + 1):
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return number(value, min(max(places, 0), digits + 1))


def plain(value: float) -> str:
    """A number as a person would write it: 0.05, 20, 1e-05."""
    return f"{value:g}".replace("-", "−")


def interval(value: Interval | None, digits: int = 2, *, sign: bool = False) -> str:
    """An interval in brackets: "[2.00, 6.20]"."""
    return NONE if value is None else f"[{number(value[0], digits, sign=sign)}, {number(value[1], digits, sign=sign)}]"


def span(value: Interval | None, digits: int = 2, *, sign: bool = False) -> str:
    """An interval in words: "2.00 to 6.20"."""
    return NONE if value is None else f"{number(value[0], digits, sign=sign)} to {number(value[1], digits, sign=sign)}"


def estimated(value: Estimate) -> str:
    """An estimate with its interval: "4.10 (95 % interval 2.00 to 6.20)"."""
    if value.low is None or value.high is None:
        return significant(value.value)
    bounds = f"{significant(value.low)} to {significant(value.high)}"
    return f"{significant(value.value)} ({percent(value.confidence)} interval {bounds})"


def estimated_share(value: Estimate) -> str:
    """A share with its interval: "50 % (95 % interval 25 % to 75 %)"."""
    if value.low is None or value.high is None:
        return percent(value.value)
    bounds = f"{percent(value.low)} to {percent(value.high)}"
    return f"{percent(value.value)} ({percent(value.confidence)} interval {bounds})"


def p_value(p: float | None) -> str:
    """A p value as papers print it: "0.012", "< 0.001"."""
    return NONE if p is None else "< 0.001" if p < 0.001 else number(p, 3)


def p_equals(p: float | None) -> str:
    """A p value in a sentence: "= 0.012", "< 0.001"."""
    return p_value(p) if p is not None and p < 0.001 else f"= {p_value(p)}"


def percent(part: float | None, digits: int = 0) -> str:
    """A share as a percentage: "12 %"."""
    return NONE if part is None else f"{number(100 * part, digits)} %"


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them: 4.2 s, 42 s, 3:07, 1:02:05, 3 d 04:05."""
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{number(seconds, 1)} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{rest:02d}"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d}:{minutes:02d}" if days else f"{hours}:{minutes:02d}:{rest:02d}"


def binary_size(count_bytes: float) -> str:
    """Bytes as a person reads them: 12.5 MiB, 1.20 GiB."""
    if count_bytes >= 2**27:
        return f"{number(count_bytes / 2**30)} GiB"
    return f"{number(count_bytes / 2**20, 1)} MiB"


def usd(value: float | None) -> str:
    """Dollars: "$0.0125"."""
    return "price unknown" if value is None else f"${number(value, 4)}"


def learning_rate(value: float) -> str:
    """A learning rate: "3.00e-04"."""
    return f"{value:.2e}"


def digits_for(low: float, high: float) -> int:
    """Digits after the point that suit scores on a scale: about a thousandth of it."""
    return max(0, 3 - math.ceil(math.log10(max(high - low, 1e-9)) - 1e-9))
