"""The ledger as people read it: its tables' cells, its words, and the page with the picture."""

from __future__ import annotations

import math

from equiloss import templates
from equiloss.numerals import number, significant, span, usd
from equiloss.records.noise import NoiseLedger

LEVELS = {
    "data_draw": "data draw",
    "pretraining_run": "pretraining run",
    "fine_tuning_seed": "fine-tuning seed",
    "item": "item (recipe x item)",
    "seed_item": "item (seed x item)",
    "judge_repeat": "judge repeat",
}
COMPONENTS = ("level", "SD, points", "95 % interval", "df", "of", "costs")
PURCHASES = ("one more", "half-width", "shrinks by", "hours", "dollars", "per hour", "per dollar")


def component_cells(ledger: NoiseLedger) -> list[tuple[str, ...]]:
    """A row for each level, measured or not."""
    rows: list[tuple[str, ...]] = []
    for level, name in LEVELS.items():
        row = ledger.component(level)  # pyright: ignore[reportArgumentType]
        if row is None:
            rows.append((name, "–", "not measured", "", ledger.not_measured.get(level, "it did not vary"), ""))
            continue
        of = (
            "a model's mean"
            if row.of_means or level in ("data_draw", "pretraining_run", "fine_tuning_seed")
            else "a score"
        )
        of += "".join(f", with {LEVELS[inside]}" for inside in row.includes)
        cost = (
            f"{significant(row.cost_s / 3600, 2)} h" if row.cost_s else usd(row.cost_usd) if row.cost_usd else "unknown"
        )
        interval = span(row.sd.interval, 2) if row.sd.low is not None else "–"
        rows.append((name, number(row.sd.value, 2), interval, number(row.df, 0), of, cost))
    return rows


def purchase_cells(ledger: NoiseLedger) -> list[tuple[str, ...]]:
    """A row for each thing that could be bought for both sides of a contrast."""
    return [
        (
            row.what,
            number(row.half_width, 3),
            number(row.shrinks_by, 3),
            number(row.hours, 2),
            number(row.usd, 3),
            number(row.per_hour, 3),
            number(row.per_usd, 3),
        )
        for row in ledger.purchases
    ]


def closing(ledger: NoiseLedger) -> list[str]:
    """What the ledger comes to, in sentences."""
    lines: list[str] = []
    if (differ := ledger.two_runs_differ_by) is not None:
        within = f" (interval {span(differ.interval, 1)})" if differ.low is not None else ""
        points = f"{number(differ.value, 1)} points"
        lines.append(f"Two runs of one recipe differ by less than {points} in 95 % of pairs{within}.")
    else:
        lines.append("What two runs of one recipe differ by was not measured: no recipe here has two runs.")
    if ledger.half_width is not None:
        unknown = "; levels that were not measured come on top" if ledger.not_measured else ""
        lines.append(
            f"A contrast of two recipes measured like this (base runs a side: {ledger.bases}, fine-tunings of each: "
            f"{ledger.seeds}) has a 95 % half-width of {number(ledger.half_width, 2)} points{unknown}."
        )
    for unit, name in (("per_hour", "an hour"), ("per_usd", "a dollar")):
        rows = [row for row in ledger.purchases if getattr(row, unit)]
        if rows:
            best = max(rows, key=lambda row: getattr(row, unit))
            lines.append(f"Most for {name}: one more {best.what} on both sides.")
    return lines


def html(ledger: NoiseLedger) -> str:
    """The page: the words, the components with their intervals, what to buy, and the best design by budget."""
    measured = [row for row in ledger.components if row.sd.high is not None]
    top = max([math.sqrt(row.sd.high or 0.0) for row in measured] or [1.0]) or 1.0

    def x(value: float) -> float:
        return round(200 + 660 * math.sqrt(max(0.0, value)) / top, 1)

    bars = [
        {"name": LEVELS[row.level], "x": x(row.sd.value), "low": x(row.sd.low or 0.0), "high": x(row.sd.high or 0.0)}
        for row in measured
    ]
    widest = max([row.half_width for row in ledger.allocation] or [1.0])
    points = [
        {
            "x": round(80 + 760 * index / max(1, len(ledger.allocation) - 1), 1),
            "y": round(190 - 160 * row.half_width / widest, 1),
            "hours": number(row.hours, 0),
            "text": f"{row.bases} x {row.seeds}: {number(row.half_width, 2)}",
        }
        for index, row in enumerate(ledger.allocation)
    ]
    return templates.report_page(
        "noise.html",
        closing=closing(ledger),
        bars=bars,
        points=points,
        tables=((COMPONENTS, component_cells(ledger)), (PURCHASES, purchase_cells(ledger))),
    )
