"""What `study explain` tried, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equiloss import console
from equiloss.numerals import estimated, estimated_share, number
from equiloss.records.counterfactual import Tried

if TYPE_CHECKING:
    from rich.table import Table


def emit(tried: Sequence[Tried]) -> None:
    """Print what was tried, and what it comes to."""
    console.emit_table(table(tried))
    console.out().print(closing(tried), markup=False, soft_wrap=True)


def table(tried: Sequence[Tried]) -> Table:
    """A row per factor: what was made equal, the gap before and after, and the share that closed."""
    headings = ("factor", "made equal", "side", "gap before", "gap after", "share closed", "minutes")
    rows = [
        (
            attempt.cause,
            attempt.changed,
            attempt.side,
            estimated(attempt.gap_before) if attempt.gap_before else "",
            estimated(attempt.gap_after) if attempt.gap_after else "",
            estimated_share(attempt.share) if attempt.share else "",
            number(attempt.minutes, 1),
        )
        for attempt in tried
    ]
    return console.table("Counterfactual runs", "lllllll", headings, rows)


def closing(tried: Sequence[Tried]) -> str:
    """One sentence on what was found."""
    best = max((one for one in tried if one.share), key=lambda one: one.share.value if one.share else 0, default=None)
    if best is None or best.share is None:
        return "Nothing was tried."
    if best.share.low is not None and best.share.low > 0:
        return f"Making {best.cause} equal closes {estimated_share(best.share)} of the gap."
    return "No factor that was made equal closes a share of the gap whose interval leaves out 0."
