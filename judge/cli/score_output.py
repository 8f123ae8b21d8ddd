"""What `judge score` prints."""

from __future__ import annotations

from equiloss import console
from judge.endpoints import offline
from judge.scoring.document import score_document
from judge.scoring.score import Result
from judge.scoring.scorer import Scored


def emit(result: Result, *, as_json: bool) -> None:
    """Print the summary of `judge score`."""
    if as_json:
        console.emit_json(score_document(result))
        return
    for warning in result.all_warnings():
        console.warn(warning)
    for scored in result.scored:
        if result.request.dry_run:
            _emit_estimate(result, scored)
        else:
            _emit_scores(result, scored)


def usd(value: float | None) -> str:
    """Dollars as they are told."""
    return "price unknown" if value is None else f"${value:.4f}"


def _emit_estimate(result: Result, scored: Scored) -> None:
    survey = scored.survey
    counts = (survey.requests, survey.settled, survey.to_ask, survey.prompt_tokens, survey.completion_tokens)
    headings = ("requests", "in the ledger", "to ask", "tokens in", "tokens out (estimated)", "cost")
    row = (*(f"{count:,}" for count in counts), usd(result.estimate_usd(scored)))
    title = f"{result.rubric.name} by {scored.judge.name}: nothing was asked"
    caption = f"prices of {result.prices.as_of}; tokens as GPT-2 counts them"
    console.emit_table(console.table(title, "rrrrrr", headings, [row], caption))


def _emit_scores(result: Result, scored: Scored) -> None:
    name = scored.judge.name + (" (not an LLM)" if scored.judge.is_offline else "")
    criteria = list(dict.fromkeys(criterion for tally in scored.tallies for criterion in tally.n))
    rows: list[list[str]] = []
    for tally in scored.tallies:
        cells = [f"{tally.means[criterion]:.2f}" if criterion in tally.n else "–" for criterion in criteria]
        rows.append([tally.generator, *cells, f"{sum(tally.n.values()):,}", f"{len(tally.failures):,}"])
    title = f"{result.rubric.name} by {name}, {result.layout}, {len(result.answers.ids):,} items"
    headings = ("model", *criteria, "verdicts", "failures")
    caption = offline.EVIDENCE if scored.judge.is_offline else None
    console.emit_table(console.table(title, "l" + "r" * (len(criteria) + 2), headings, rows, caption))
    for line in () if scored.judge.is_offline else _account(result, scored):
        console.say(line)
    for tally in scored.tallies:
        console.say(f"wrote {tally.path}")


def _account(result: Result, scored: Scored) -> list[str]:
    """What was asked and paid, what the control answers got, and whether it ended early."""
    spent, survey = scored.spent, scored.survey
    lines = [
        f"asked {spent.replies:,} times: {spent.prompt_tokens:,} tokens in, {spent.completion_tokens:,} out, "
        f"{usd(spent.cost_usd)}; the ledger saved {survey.settled:,} requests, "
        f"{survey.saved_prompt_tokens + survey.saved_completion_tokens:,} tokens, {usd(survey.saved_usd)}"
    ]
    if kinds := result.control_summary(scored)["kinds"]:
        means = ", ".join(f"{kind} {summary['mean']:.0%}" for kind, summary in kinds.items())
        tokens, cost_usd = scored.control_cost
        cost = f"they cost {tokens:,} tokens, {usd(cost_usd)}"
        lines.append(f"control answers (mean share of the scale): {means}; {cost}")
    if (early := scored.early) and early["decided"]:
        lines.append(
            f"settled after {early['items']:,} items; {early['items_saved']:,} were saved (alpha {early['alpha']:g})"
        )
    return lines
