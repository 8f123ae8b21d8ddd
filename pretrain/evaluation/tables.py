"""What `pretrain eval` shows on the terminal: one row per checkpoint, and for several a verdict per pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equiloss import console
from equiloss.loss_comparison import LossComparison, OverallComparison
from equiloss.numerals import interval, number, p_value, percent
from equiloss.records.evaluation import EvaluationRecord, PartMean
from equiloss.statistics.estimate import ClusteredMean

if TYPE_CHECKING:
    from rich.table import Table


def emit(
    evaluations: Sequence[EvaluationRecord], pairs: Sequence[LossComparison], overall: Sequence[OverallComparison]
) -> None:
    """Print the means, what they are made of, and the comparisons: each test set's, then those over all of them."""
    for data in dict.fromkeys(row.data.path for row in evaluations):
        of_set = [row for row in evaluations if row.data.path == data]
        for table in (losses(of_set), *breakdowns(of_set)):
            console.emit_table(table)
        of_pairs = [pair for pair in pairs if pair.data == data]
        if of_pairs:
            console.emit_table(comparisons(of_pairs, f"on {data}"))
        console.say(*read_before(of_set, of_pairs))
    if overall and len(overall[0].verdicts) > 1:
        title = f"over all {len(overall[0].verdicts)} test sets, each weighing alike"
        console.emit_table(comparisons(overall, title, "equivalent: on every test set; different: on one at least"))


def read_before(evaluations: Sequence[EvaluationRecord], pairs: Sequence[LossComparison]) -> list[str]:
    """What of the test text the models were trained on, and the differences without those documents."""
    lines: list[str] = []
    for row in evaluations:
        data, model = row.data, row.checkpoint
        if model.own_share:
            lines.append(f"{percent(model.own_share)} of {model.name}'s training text is of the sources of {data.path}")
        if model.seen_documents:
            many = f"{model.seen_documents:,} documents ({percent(model.seen_documents / data.documents, 1)})"
            lines.append(f"warning: {many} of {data.path} stand in {model.name}'s training text")
    return lines + [
        f"without the documents that one of them has read, {pair.a} − {pair.b} is "
        f"{_interval(pair.unseen_difference_nats, 4, sign=True)} nats/token"
        for pair in pairs
        if pair.unseen_difference_nats is not None
    ]


def losses(evaluations: Sequence[EvaluationRecord]) -> Table:
    """The means with their intervals."""
    data, method = evaluations[0].data, evaluations[0].method
    title = f"{data.path} · {data.split}: {data.documents:,} documents, {data.tokens:,} tokens"
    caption = f"{method.precision}, dropout off, context {method.context_tokens}, stride {method.stride_tokens}; "
    headings = ("checkpoint", "loss (nats/token)", "bits per byte", "perplexity", "accuracy", "calibration error")
    rows = [
        (
            row.checkpoint.name,
            _interval(row.loss_nats, 4),
            _interval(row.bits_per_byte, 4),
            number(row.perplexity),
            percent(row.accuracy.value, 1),
            number(row.calibration.expected_calibration_error, 3),
        )
        for row in evaluations
    ]
    return console.table(title, "lrrrrr", headings, rows, f"{caption}intervals: {method.interval}")


def breakdowns(evaluations: Sequence[EvaluationRecord]) -> list[Table]:
    """The loss of every checkpoint in each domain, frequency decile and range of positions: a table each."""
    return [
        _breakdown("domain", evaluations, [row.domains for row in evaluations]),
        *(
            _breakdown(part, evaluations, means)
            for part, means in (
                ("frequency decile", [row.frequency_deciles for row in evaluations]),
                ("position", [row.positions for row in evaluations]),
            )
            if len({row.checkpoint.tokenizer_sha256 for row in evaluations}) == 1  # the same tokens
        ),
    ]


def _breakdown(part: str, evaluations: Sequence[EvaluationRecord], means: Sequence[Sequence[PartMean]]) -> Table:
    headings = (part, "tokens", *(row.checkpoint.name for row in evaluations))
    rows = [
        (cells[0].name, f"{cells[0].tokens:,}", *(_interval(cell, 3) for cell in cells))
        for cells in zip(*means, strict=True)
    ]
    return console.table(f"loss by {part} (nats/token)", "lr" + "r" * len(evaluations), headings, rows)


def comparisons(
    pairs: Sequence[LossComparison | OverallComparison], of: str, caption: str = "TOST: two one-sided tests at 5 %"
) -> Table:
    """The paired differences, and whether they are within the margin."""
    headings = ("A", "B", "A − B (nats/token)", "p (equal to 0)", "p (beyond the margin)", "verdict")
    rows: list[tuple[str, ...]] = []
    for pair in pairs:
        p_values = [p_value(p) for p in (pair.p_difference, pair.p_equivalence)]
        bits = pair.difference_bits_per_byte if isinstance(pair, LossComparison) else None
        shown = _interval(bits or pair.difference_nats, 4, sign=True) + (" bits/byte" if bits else "")
        rows.append((pair.a, pair.b, shown, *p_values, pair.verdict))
    title = f"paired differences {of}, margin {pairs[0].margin_nats} nats"
    return console.table(title, "llrrrl", headings, rows, caption)


def _interval(mean: ClusteredMean, digits: int, sign: bool = False) -> str:
    text = number(mean.value, digits, sign=sign)
    if mean.low is None or mean.high is None:
        return text
    return f"{text} {interval((mean.low, mean.high), digits, sign=sign)}"
