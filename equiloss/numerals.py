"""Numbers as people read them: fixed digits, a real minus sign, a dash where there is none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from equiloss.statistics.estimate import Interval


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number with fixed digits; with `sign` a positive one gets a plus."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        return text.lstrip("+-")
    return text.replace("-", "−")


def interval(value: Interval | None, digits: int = 2) -> str:
    """An interval in brackets."""
    return "–" if value is None else f"[{number(value[0], digits)}, {number(value[1], digits)}]"


def p_value(p: float | None) -> str:
    """A p-value as papers print it."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float, digits: int = 0) -> str:
    """A share as a percentage."""
    return f"{share * 100:.{digits}f} %"


def digits_for(low: float, high: float) -> int:
    """Digits after the point that suit scores on a scale: about a thousandth of it."""
    return max(0, 3 - math.ceil(math.log10(max(high - low, 1e-9)) - 1e-9))


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 4.2 s, 42 s, 3:07, 1:02:05, 3 d 04:05."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{rest:02d}"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d}:{minutes:02d}" if days else f"{hours}:{minutes:02d}:{rest:02d}"
