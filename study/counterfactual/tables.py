"""What `study explain` tried, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from equiloss.numerals import estimated, estimated_share
from equiloss.records.counterfactual import Tried


def table(tried: Sequence[Tried]) -> Table:
    """A row per factor: what was made equal, the gap before and after, and the share that closed."""
    shown = Table(title="Counterfactual runs", title_justify="left")
    for heading in ("factor", "made equal", "side", "gap before", "gap after", "share closed", "minutes"):
        shown.add_column(heading, overflow="fold")
    for one in tried:
        shown.add_row(
            one.cause,
            one.changed,
            one.side,
            estimated(one.gap_before) if one.gap_before else "",
            estimated(one.gap_after) if one.gap_after else "",
            estimated_share(one.share) if one.share else "",
            f"{one.minutes:.1f}",
        )
    return shown


def closing(tried: Sequence[Tried]) -> str:
    """One sentence on what was found."""
    best = max((one for one in tried if one.share), key=lambda one: one.share.value if one.share else 0, default=None)
    if best is None or best.share is None:
        return "Nothing was tried."
    if best.share.low is not None and best.share.low > 0:
        return f"Making {best.cause} equal closes {estimated_share(best.share)} of the gap."
    return "No factor that was made equal closes a share of the gap whose interval leaves out 0."
