"""What `judge score` prints."""

from __future__ import annotations

from equiloss import console
from equiloss.numerals import number, percent, usd
from judge.scoring.document import score_document
from judge.scoring.score import ScoreResult
from judge.scoring.scorer import Scorer


def emit(result: ScoreResult, *, as_json: bool) -> None:
    """Print the summary of `judge score`."""
    if as_json:
        console.emit_json(score_document(result))
        return
    for warning in result.all_warnings():
        console.warn(warning)
    for judge in result.judges:
        if result.request.dry_run:
            _emit_estimate(result, judge)
        else:
            _emit_scores(result, judge)


def _emit_estimate(result: ScoreResult, judge: Scorer) -> None:
    counts = (judge.n_requests, judge.n_settled, judge.n_to_ask, judge.prompt_tokens, judge.completion_tokens)
    headings = ("requests", "in the ledger", "to ask", "tokens in", "tokens out (estimated)", "cost")
    row = (*(f"{count:,}" for count in counts), usd(judge.estimate_usd))
    title = f"{result.rubric.name} by {judge.provider.name}: nothing was asked"
    caption = f"prices of {result.prices.as_of}; tokens as GPT-2 counts them"
    console.emit_table(console.table(title, "rrrrrr", headings, [row], caption))


def _emit_scores(result: ScoreResult, judge: Scorer) -> None:
    name = judge.provider.name + ("" if judge.provider.is_llm else " (not an LLM)")
    criteria = list(dict.fromkeys(criterion for model in judge.written for criterion in model.n))
    rows: list[list[str]] = []
    for model in judge.written:
        cells = [number(model.mean.get(criterion)) for criterion in criteria]
        rows.append([model.generator, *cells, f"{sum(model.n.values()):,}", f"{len(model.failures):,}"])
    title = f"{result.rubric.name} by {name}, {result.layout}, {len(result.answers.ids):,} items"
    headings = ("model", *criteria, "verdicts", "failures")
    caption = judge.provider.evidence or None
    console.emit_table(console.table(title, "l" + "r" * (len(criteria) + 2), headings, rows, caption))
    console.say(*(() if judge.provider.is_free else _account(judge)))
    console.say(*(f"wrote {model.path}" for model in judge.written))


def _account(judge: Scorer) -> list[str]:
    """What was asked and paid, what the control answers got, and whether it ended early."""
    budget = judge.budget
    lines = [
        f"asked {budget.replies:,} times: {budget.prompt_tokens:,} tokens in, {budget.completion_tokens:,} out, "
        f"{usd(budget.cost_usd)}; the ledger saved {judge.n_settled:,} requests, "
        f"{judge.saved_prompt_tokens + judge.saved_completion_tokens:,} tokens, {usd(judge.saved_usd)}"
    ]
    if kinds := judge.control_summary["kinds"]:
        means = ", ".join(f"{kind} {percent(summary['mean'])}" for kind, summary in kinds.items())
        tokens, cost_usd = judge.control_cost
        cost = f"they cost {tokens:,} tokens, {usd(cost_usd)}"
        lines.append(f"control answers (mean share of the scale): {means}; {cost}")
    if (early := judge.early_stopping) and early.decided:
        lines.append(
            f"settled after {early.items:,} items; {early.items_saved:,} were saved (alpha {early.alpha:g}). "
            "This speaks of these answers: other seeds may differ, and gaps at stopping are too large on average"
        )
    return lines
