"""What `study explain` tried, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equiloss import console
from equiloss.numerals import estimated, estimated_share, number, significant
from equiloss.records.counterfactual import Tried
from equiloss.statistics.multiplicity import holm

if TYPE_CHECKING:
    from rich.table import Table


def emit(tried: Sequence[Tried]) -> None:
    """Print what was tried, and what it comes to."""
    console.emit_table(table(tried))
    console.out().print(closing(tried), markup=False, soft_wrap=True)


def table(tried: Sequence[Tried]) -> Table:
    """A row per factor: what was made equal, its points in both directions, the share, and its corrected p."""
    headings = ("factor", "made equal", "points", "in the lower", "in the higher", "share of the gap", "p", "minutes")
    corrected = holm([one.points.p if one.points else None for one in tried])
    rows = [
        (
            attempt.cause,
            attempt.changed,
            *(estimated(one) if one else "" for one in (attempt.points, attempt.in_lower, attempt.in_higher)),
            estimated_share(attempt.share) if attempt.share else "",
            "" if p is None else significant(p, 2),
            number(attempt.minutes, 1),
        )
        for attempt, p in zip(tried, corrected, strict=True)
    ]
    return console.table("Counterfactual runs", "llllllll", headings, rows)


def closing(tried: Sequence[Tried]) -> str:
    """What was found, a sentence for each thing."""
    best = max((one for one in tried if one.share), key=lambda one: one.share.value if one.share else 0, default=None)
    if best is None or best.share is None:
        return "Nothing was tried."
    says = ["No factor that was made equal closes a share of the gap whose interval leaves out 0."]
    if best.share.low is not None and best.share.low > 0:
        says = [f"Making {best.cause} equal closes {estimated_share(best.share)} of the gap."]
    for one in tried:
        if one.interaction is not None and one.interaction.excludes(0.0):
            says.append(
                f"{one.cause} does not do the same in both: the difference is {estimated(one.interaction)} points, so "
                "it acts together with something else that differs."
            )
        if one.note:
            says.append(f"{one.cause}: {one.note}.")
    return " ".join(says)
