"""Small plots as inline SVG. Positions are percentages, so that a plot stretches while its marks and text do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from equiloss.statistics.estimate import Interval

# One shape per model besides its colour, so that colour never carries a meaning alone.
SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",  # circle
    "M-4.5-4.5h9v9h-9z",  # square
    "M0-6.2L6.2 0L0 6.2L-6.2 0z",  # diamond
    "M0-5.8L5.6 4.4H-5.6z",  # triangle
    "M0 5.8L5.6-4.4H-5.6z",  # triangle, point down
    "M-5.2-2.6L-2.6-5.2L0-2.6L2.6-5.2L5.2-2.6L2.6 0L5.2 2.6L2.6 5.2L0 2.6L-2.6 5.2L-5.2 2.6L-2.6 0z",  # cross
)


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high` with ticks; `at` gives the position of a value in per cent."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    def at(self, value: float) -> float:
        """Where a value lies, 0 to 100, kept inside."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)


def axis(values: Sequence[float], *, include: Sequence[float] = (), ticks: int = 5) -> Axis:
    """An axis with round ticks that covers all values with a little room."""
    everything = [*values, *include] or [0.0, 1.0]
    low, high = min(everything), max(everything)
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        room = max(1.0, abs(high)) * 0.5
        low, high = low - room, high + room
    rough = (high - low) / ticks
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough - 1e-12)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    exponent = -math.floor(math.log10(step) + 1e-9)
    digits = max(0, exponent + (1 if abs(step * 10**exponent - 2.5) < 1e-9 else 0))
    marks = tuple(round(index * step, 12) for index in range(first, last + 1))
    return Axis(marks[0], marks[-1], marks, digits)


def marker(model: int, x: float, y: float = 50.0) -> Markup:
    """The mark of a model at a place (per cent)."""
    shape = SHAPES[model % len(SHAPES)]
    return Markup('<svg class="mark" x="{}%" y="{}%"><path class="fill m{}" d="{}"/></svg>').format(
        _n(x), _n(y), model % 6, shape
    )


def swatch(model: int) -> Markup:
    """A model's mark on its own, for legends and names."""
    return Markup(
        '<svg class="swatch" viewBox="-7 -7 14 14" aria-hidden="true"><path class="fill m{}" d="{}"/></svg>'
    ).format(model % 6, SHAPES[model % len(SHAPES)])


def ruler(scale: Axis) -> Markup:
    """The axis itself: tick labels, for the head of a column of plots."""
    parts = [
        Markup('<text x="{}%" y="13" class="tick{}">{}</text>').format(
            _n(scale.at(tick)),
            " first" if tick == scale.ticks[0] else " last" if tick == scale.ticks[-1] else "",
            f"{tick:.{scale.digits}f}".replace("-", "−"),
        )
        for tick in scale.ticks
    ]
    return Markup('<svg class="plot ruler" aria-hidden="true">{}</svg>').format(Markup("").join(parts))


def interval(
    scale: Axis, value: float | None, span: Interval | None, model: int, label: str, *, zero: bool = False
) -> Markup:
    """A value with its interval on the axis; `label` says the same in words. With `zero`: a line at zero."""
    grid = [
        Markup('<line class="{}" x1="{}%" x2="{}%" y1="0" y2="100%"/>').format(
            "zero" if zero and tick == 0 else "grid", _n(scale.at(tick)), _n(scale.at(tick))
        )
        for tick in scale.ticks
    ]
    marks: list[Markup] = []
    if span is not None:
        low, high = _n(scale.at(span[0])), _n(scale.at(span[1]))
        stroke = f"stroke m{model % 6}" if model >= 0 else "stroke ink"
        marks.append(
            Markup(
                '<line class="{0}" x1="{1}%" x2="{2}%" y1="50%" y2="50%"/>'
                '<line class="{0}" x1="{1}%" x2="{1}%" y1="34%" y2="66%"/>'
                '<line class="{0}" x1="{2}%" x2="{2}%" y1="34%" y2="66%"/>'
            ).format(stroke, low, high)
        )
    if value is not None:
        if model >= 0:
            marks.append(marker(model, scale.at(value)))
        else:
            marks.append(
                Markup('<svg class="mark" x="{}%" y="50%"><path class="ink" d="{}"/></svg>').format(
                    _n(scale.at(value)), SHAPES[0]
                )
            )
    return Markup('<svg class="plot" role="img" aria-label="{}">{}{}</svg>').format(
        label, Markup("").join(grid), Markup("").join(marks)
    )


def histogram(values: Sequence[float], low: float, high: float, model: int, label: str, bins: int = 20) -> Markup:
    """How often each score was given, from `low` to `high`."""
    heights, _ = np.histogram(np.asarray(values, dtype=np.float64), bins=bins, range=(low, high))
    top = max(1, int(heights.max()))
    width = 100 / bins
    bars = [
        Markup('<rect class="fill m{}" x="{}%" y="{}%" width="{}%" height="{}%"/>').format(
            model % 6, _n(index * width + 0.1 * width), _n(100 - 100 * h / top), _n(0.8 * width), _n(100 * h / top)
        )
        for index, h in enumerate(float(one) for one in heights)
        if h
    ]
    return Markup('<svg class="histogram" role="img" aria-label="{}">{}</svg>').format(label, Markup("").join(bars))


def shares(parts: Sequence[tuple[float, str]], label: str) -> Markup:
    """A bar cut into shares: (amount, CSS class) from left to right."""
    total = sum(amount for amount, _ in parts) or 1.0
    at = 0.0
    rects: list[Markup] = []
    for amount, css in parts:
        width = 100 * amount / total
        if amount:
            rects.append(
                Markup('<rect class="{}" x="{}%" y="0" width="{}%" height="100%"/>').format(css, _n(at), _n(width))
            )
        at += width
    return Markup('<svg class="shares" role="img" aria-label="{}">{}</svg>').format(label, Markup("").join(rects))


def _n(value: float) -> str:
    return escape(f"{value:.3f}".rstrip("0").rstrip("."))
