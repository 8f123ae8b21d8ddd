"""What `pretrain eval` shows on the terminal: one row per checkpoint, and for several a verdict per pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def losses(evaluations: Sequence[Mapping[str, Any]]) -> Table:
    """The means with their intervals."""
    from rich.table import Table

    first = evaluations[0]
    method, data = first["method"], first["data"]
    table = Table(
        title=f"{data['path']} · {data['split']}: {data['documents']:,} documents, {data['tokens']:,} tokens",
        caption=(
            f"{method['precision']}, dropout off, context {method['context_tokens']}, "
            f"stride {method['stride_tokens']}; intervals: {method['interval']}"
        ),
    )
    for heading in ("checkpoint", "loss (nats/token)", "bits per byte", "perplexity", "accuracy", "calibration error"):
        table.add_column(heading, justify="left" if heading == "checkpoint" else "right")
    for row in evaluations:
        table.add_row(
            row["checkpoint"]["name"],
            _interval(row["loss_nats"], 4),
            _interval(row["bits_per_byte"], 4),
            f"{row['perplexity']:,.2f}",
            f"{row['accuracy']['value']:.1%}",
            f"{row['calibration']['expected_calibration_error']:.3f}",
        )
    return table


def breakdown(evaluations: Sequence[Mapping[str, Any]], part: str, title: str) -> Table:
    """The loss of every checkpoint in each domain, frequency decile or range of positions."""
    from rich.table import Table

    table = Table(title=f"loss by {title} (nats/token)")
    table.add_column(title)
    table.add_column("tokens", justify="right")
    for row in evaluations:
        table.add_column(row["checkpoint"]["name"], justify="right")
    for number, cell in enumerate(evaluations[0][part]):
        losses = [_interval(row[part][number], 3) for row in evaluations]
        table.add_row(cell["name"], f"{cell['tokens']:,}", *losses)
    return table


def comparisons(pairs: Sequence[Mapping[str, Any]]) -> Table:
    """The paired differences, and whether they are within the margin."""
    from rich.table import Table

    margin = pairs[0]["margin_nats"]
    table = Table(title=f"paired differences, margin {margin} nats", caption="TOST: two one-sided tests at 5 %")
    for heading in ("A", "B", "A - B (nats/token)", "p (equal to 0)", "p (beyond the margin)", "verdict"):
        table.add_column(heading)
    for pair in pairs:
        table.add_row(
            pair["a"],
            pair["b"],
            _interval(pair["difference_nats"], 4, sign=True),
            _p(pair["p_difference"]),
            _p(pair["p_equivalence"]),
            pair["verdict"],
        )
    return table


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _interval(estimate: Mapping[str, Any], digits: int, sign: bool = False) -> str:
    plus = "+" if sign else ""
    text = f"{estimate['value']:{plus}.{digits}f}"
    if estimate["low"] is None:
        return text
    return f"{text} [{estimate['low']:{plus}.{digits}f}, {estimate['high']:{plus}.{digits}f}]"
