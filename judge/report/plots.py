"""Small plots as inline SVG. Positions are percentages, so that a plot stretches while its marks and text do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from markupsafe import Markup

from equiloss.numerals import number
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


def swatch(model: int) -> Markup:
    """A model's mark on its own, for legends and names."""
    return _tag("svg", _mark(model), class_="swatch", viewBox="-7 -7 14 14", aria_hidden="true")


def ruler(scale: Axis) -> Markup:
    """The axis itself: tick labels, for the head of a column of plots."""
    ends = {scale.ticks[-1]: " last", scale.ticks[0]: " first"}
    texts = [
        _tag("text", number(tick, scale.digits), x=_per_cent(scale.at(tick)), y=13, class_=f"tick{ends.get(tick, '')}")
        for tick in scale.ticks
    ]
    return _tag("svg", *texts, class_="plot ruler", aria_hidden="true")


def interval(
    scale: Axis, value: float | None, span: Interval | None, model: int, label: str, *, zero: bool = False
) -> Markup:
    """A value with its interval on the axis; `label` says the same in words. With `zero`: a line at zero.

    `model` -1 is none: in the colour of the text.
    """
    marks = [
        _line("zero" if zero and tick == 0 else "grid", scale.at(tick), scale.at(tick), 0, 100) for tick in scale.ticks
    ]
    if span is not None:
        low, high = scale.at(span[0]), scale.at(span[1])
        stroke = f"stroke m{model % 6}" if model >= 0 else "stroke ink"
        marks += [_line(stroke, low, high, 50, 50), _line(stroke, low, low, 34, 66), _line(stroke, high, high, 34, 66)]
    if value is not None:
        marks.append(_tag("svg", _mark(model), class_="mark", x=_per_cent(scale.at(value)), y="50%"))
    return _tag("svg", *marks, class_="plot", role="img", aria_label=label)


def step(scale: Axis, start: float, end: float, span: Interval | None, label: str) -> Markup:
    """A step of a waterfall: a bar from where the last one ended, with the interval of its own end."""
    marks = [_line("zero" if tick == 0 else "grid", scale.at(tick), scale.at(tick), 0, 100) for tick in scale.ticks]
    left, right = sorted((scale.at(start), scale.at(end)))
    marks.append(
        _bar("fill tie" if end == start else "fill win" if end > start else "fill loss", left, 30, right - left, 40)
    )
    if span is not None:
        low, high = scale.at(span[0]), scale.at(span[1])
        marks += [_line("stroke m1", low, high, 50, 50), _line("stroke m1", low, low, 38, 62)]
        marks.append(_line("stroke m1", high, high, 38, 62))
    return _tag("svg", *marks, class_="plot", role="img", aria_label=label)


def histogram(values: Sequence[float], low: float, high: float, model: int, label: str, bins: int = 20) -> Markup:
    """How often each score was given, from `low` to `high`."""
    heights, _ = np.histogram(np.asarray(values, dtype=np.float64), bins=bins, range=(low, high))
    tallest, width = max(1, int(heights.max())), 100 / bins
    bars = [
        _bar(f"fill m{model % 6}", (index + 0.1) * width, 100 - height, 0.8 * width, height)
        for index, height in enumerate((100 * heights / tallest).tolist())
        if height
    ]
    return _tag("svg", *bars, class_="histogram", role="img", aria_label=label)


def shares(parts: Sequence[tuple[float, str]], label: str) -> Markup:
    """A bar cut into shares: (amount, CSS class) from left to right."""
    widths = [100 * amount / (sum(amount for amount, _ in parts) or 1.0) for amount, _ in parts]
    starts = accumulate(widths, initial=0.0)
    bars = [_bar(css, x, 0, width, 100) for (_, css), x, width in zip(parts, starts, widths, strict=False) if width]
    return _tag("svg", *bars, class_="shares", role="img", aria_label=label)


def _mark(model: int) -> Markup:
    css = f"fill m{model % 6}" if model >= 0 else "ink"
    return _tag("path", class_=css, d=SHAPES[max(0, model) % len(SHAPES)])


def _line(css: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    return _tag("line", class_=css, x1=_per_cent(x1), x2=_per_cent(x2), y1=_per_cent(y1), y2=_per_cent(y2))


def _bar(css: str, x: float, y: float, width: float, height: float) -> Markup:
    size = {"width": _per_cent(width), "height": _per_cent(height)}
    return _tag("rect", class_=css, x=_per_cent(x), y=_per_cent(y), **size)


def _tag(name: str, *content: str, **attributes: str | int) -> Markup:
    """An element; an underscore in an attribute's name is a hyphen, and content that is not markup is escaped."""
    words = [Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items()]
    return Markup("<{0}{1}>{2}</{0}>").format(name, Markup("").join(words), Markup("").join(content))


def _per_cent(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"
