"""Several tests at once: p values that keep their error rate together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload


@overload
def holm(p_values: Sequence[float]) -> list[float]: ...  # pyright: ignore[reportOverlappingOverload]


@overload
def holm(p_values: Sequence[float | None]) -> list[float | None]: ...


def holm(p_values: Sequence[float | None]) -> list[float] | list[float | None]:
    """Holm's (1979) step-down adjustment, in the order given; None stays None."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = largest
    return adjusted
