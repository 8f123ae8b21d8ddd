"""What `pretrain eval` shows on the terminal: one row per checkpoint, and for several a verdict per pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equiloss.loss_comparison import LossComparison
from equiloss.records.evaluation import EvaluationRecord, PartMean
from equiloss.statistics.estimate import ClusteredMean

if TYPE_CHECKING:
    from rich.table import Table


def losses(evaluations: Sequence[EvaluationRecord]) -> Table:
    """The means with their intervals."""
    from rich.table import Table

    data, method = evaluations[0].data, evaluations[0].method
    table = Table(
        title=f"{data.path} · {data.split}: {data.documents:,} documents, {data.tokens:,} tokens",
        caption=(
            f"{method.precision}, dropout off, context {method.context_tokens}, stride {method.stride_tokens}; "
            f"intervals: {method.interval}"
        ),
    )
    for heading in ("checkpoint", "loss (nats/token)", "bits per byte", "perplexity", "accuracy", "calibration error"):
        table.add_column(heading, justify="left" if heading == "checkpoint" else "right")
    for row in evaluations:
        table.add_row(
            row.checkpoint.name,
            _interval(row.loss_nats, 4),
            _interval(row.bits_per_byte, 4),
            f"{row.perplexity:,.2f}",
            f"{row.accuracy.value:.1%}",
            f"{row.calibration.expected_calibration_error:.3f}",
        )
    return table


def breakdowns(evaluations: Sequence[EvaluationRecord]) -> list[Table]:
    """The loss of every checkpoint in each domain, frequency decile and range of positions: a table each."""
    return [
        _breakdown("domain", evaluations, [row.domains for row in evaluations]),
        _breakdown("frequency decile", evaluations, [row.frequency_deciles for row in evaluations]),
        _breakdown("position", evaluations, [row.positions for row in evaluations]),
    ]


def _breakdown(title: str, evaluations: Sequence[EvaluationRecord], parts: Sequence[Sequence[PartMean]]) -> Table:
    from rich.table import Table

    table = Table(title=f"loss by {title} (nats/token)")
    table.add_column(title)
    table.add_column("tokens", justify="right")
    for row in evaluations:
        table.add_column(row.checkpoint.name, justify="right")
    for cells in zip(*parts, strict=True):
        table.add_row(cells[0].name, f"{cells[0].tokens:,}", *(_interval(cell, 3) for cell in cells))
    return table


def comparisons(pairs: Sequence[LossComparison]) -> Table:
    """The paired differences, and whether they are within the margin."""
    from rich.table import Table

    margin = pairs[0].margin_nats
    table = Table(title=f"paired differences, margin {margin} nats", caption="TOST: two one-sided tests at 5 %")
    for heading in ("A", "B", "A - B (nats/token)", "p (equal to 0)", "p (beyond the margin)", "verdict"):
        table.add_column(heading)
    for pair in pairs:
        p_values = ["-" if p is None else f"{p:.2g}" for p in (pair.p_difference, pair.p_equivalence)]
        table.add_row(pair.a, pair.b, _interval(pair.difference_nats, 4, sign=True), *p_values, pair.verdict)
    return table


def _interval(mean: ClusteredMean, digits: int, sign: bool = False) -> str:
    form = f"{'+' if sign else ''}.{digits}f"
    if mean.low is None or mean.high is None:
        return format(mean.value, form)
    return f"{mean.value:{form}} [{mean.low:{form}}, {mean.high:{form}}]"
