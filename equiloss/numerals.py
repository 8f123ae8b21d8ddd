"""Numbers as people read them: fixed digits, a real minus sign, a dash where there is none."""

from __future__ import annotations

import math

from equiloss.statistics.bootstrap import Interval


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
