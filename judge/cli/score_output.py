"""What `judge score` prints: tables for people, one JSON document for programs."""

from __future__ import annotations

from collections.abc import Sequence

from equiloss import console
from equiloss.records.verdict import ControlVerdict
from judge.data.control_answers import summarise
from judge.endpoints import offline
from judge.scoring.score import Result
from judge.scoring.scorer import Scored
from judge.scoring.verdict_writer import Tally


def emit(result: Result, *, as_json: bool) -> None:
    """Print the summary of `judge score`."""
    if as_json:
        console.emit_json(document(result))
        return
    for warning in _all_warnings(result):
        console.warn(warning)
    for scored in result.scored:
        if result.request.dry_run:
            _emit_estimate(result, scored)
        else:
            _emit_scores(result, scored)


def document(result: Result) -> dict[str, object]:
    """The document of `judge score --json`; its keys are described in docs/judges.md."""
    return {
        "format": "equiloss.score.v1",
        "dry_run": result.request.dry_run,
        "rubric": {"name": result.rubric.name, "version": result.rubric.front.version, "sha256": result.rubric.sha},
        "layout": result.layout,
        "repeats": result.request.repeats,
        "items": len(result.answers.ids),
        "files": [
            {
                "path": str(file.path),
                "generator": file.generator,
                "items": len(file),
                "not_judged": result.answers.unmatched.get(file.generator, 0),
            }
            for file in result.answers.files
        ],
        "judges": [_judge(result, scored) for scored in result.scored],
        "ledger": str(result.ledger) if result.ledger else None,
        "prices_as_of": result.prices.as_of,
        "warnings": _all_warnings(result),
        "stopped": str(result.stopped) if result.stopped else None,
    }


def usd(value: float | None) -> str:
    """Dollars as they are told."""
    return "price unknown" if value is None else f"${value:.4f}"


def _judge(result: Result, scored: Scored) -> dict[str, object]:
    survey, spent = scored.survey, scored.spent
    asked: dict[str, object] = {
        "judge": scored.judge.name,
        "is_llm": not scored.judge.is_offline,
        "notice": offline.NOTICE if scored.judge.is_offline else None,
        "requests": survey.requests,
        "from_ledger": survey.settled,
        "to_ask": survey.to_ask,
    }
    if result.request.dry_run:
        tokens = {"prompt": survey.prompt_tokens, "completion": survey.completion_tokens}
        return {**asked, "tokens": tokens, "cost_usd": _estimate_usd(result, scored)}
    return {
        **asked,
        "replies": spent.replies,
        "reasked": spent.reasked,
        "retries": spent.retries,
        "lost": len(spent.lost),
        "tokens": {
            "prompt": spent.prompt_tokens,
            "completion": spent.completion_tokens,
            "cached": spent.cached_tokens,
        },
        "cost_usd": spent.cost_usd,
        "saved": {
            "requests": survey.settled,
            "prompt_tokens": survey.saved_prompt_tokens,
            "completion_tokens": survey.saved_completion_tokens,
            "cost_usd": survey.saved_usd,
        },
        "endpoint": scored.profile.record() if scored.profile and survey.to_ask else None,
        "results": [
            {
                "generator": tally.generator,
                "path": str(tally.path),
                "verdicts": tally.n,
                "mean": _means(tally),
                "failures": len(tally.failures),
                "failures_path": str(tally.failures_path) if tally.failures else None,
            }
            for tally in _tallies(scored)
        ],
        "canaries": _control_answers(result, scored),
        "early_stop": scored.early,
    }


def _tallies(scored: Scored) -> Sequence[Tally]:
    return scored.written.tallies if scored.written else ()


def _means(tally: Tally) -> dict[str, float]:
    return {criterion: tally.total[criterion] / count for criterion, count in tally.n.items()}


def _estimate_usd(result: Result, scored: Scored) -> float | None:
    if scored.judge.is_offline:
        return 0.0
    if scored.price is None:
        return None
    cost = scored.price.cost_usd(scored.survey.prompt_tokens, scored.survey.completion_tokens)
    return cost * (result.prices.batch_discount if result.request.batch else 1.0)


def _planted(scored: Scored) -> list[ControlVerdict]:
    return [verdict for tally in _tallies(scored) for verdict in tally.control_answers]


def _cost(verdicts: Sequence[ControlVerdict]) -> tuple[int, float | None]:
    """Tokens and dollars of verdicts; None for dollars where no price is known."""
    costs = [verdict.cost_usd for verdict in verdicts if verdict.cost_usd is not None]
    tokens = sum(verdict.usage.prompt_tokens + verdict.usage.completion_tokens for verdict in verdicts)
    return tokens, sum(costs) if costs else None


def _control_answers(result: Result, scored: Scored) -> dict[str, object] | None:
    planted, scale = _planted(scored), result.rubric.front.scale
    tokens, cost_usd = _cost(planted)
    return {**summarise(planted, scale.min, scale.max), "tokens": tokens, "cost_usd": cost_usd} if planted else None


def _all_warnings(result: Result) -> list[str]:
    scale = result.rubric.front.scale
    warnings = list(result.warnings)
    for scored in result.scored:
        warnings += summarise(_planted(scored), scale.min, scale.max)["warnings"]
        if failures := sum(len(tally.failures) for tally in _tallies(scored)):
            warnings.append(f"{failures:,} answers have no verdict: see the .failures.jsonl files (--retry-failures)")
    return warnings


def _emit_estimate(result: Result, scored: Scored) -> None:
    survey = scored.survey
    counts = (survey.requests, survey.settled, survey.to_ask, survey.prompt_tokens, survey.completion_tokens)
    headings = ("requests", "in the ledger", "to ask", "tokens in", "tokens out (estimated)", "cost")
    row = (*(f"{count:,}" for count in counts), usd(_estimate_usd(result, scored)))
    title = f"{result.rubric.name} by {scored.judge.name}: nothing was asked"
    caption = f"prices of {result.prices.as_of}; tokens as GPT-2 counts them"
    console.emit_table(console.table(title, "rrrrrr", headings, [row], caption))


def _emit_scores(result: Result, scored: Scored) -> None:
    name = scored.judge.name + (" (not an LLM)" if scored.judge.is_offline else "")
    criteria = list(dict.fromkeys(criterion for tally in _tallies(scored) for criterion in tally.n))
    rows: list[list[str]] = []
    for tally in _tallies(scored):
        means = _means(tally)
        cells = [f"{means[criterion]:.2f}" if criterion in means else "–" for criterion in criteria]
        rows.append([tally.generator, *cells, f"{sum(tally.n.values()):,}", f"{len(tally.failures):,}"])
    title = f"{result.rubric.name} by {name}, {result.layout}, {len(result.comparison.ids):,} items"
    headings = ("model", *criteria, "verdicts", "failures")
    caption = offline.EVIDENCE if scored.judge.is_offline else None
    console.emit_table(console.table(title, "l" + "r" * (len(criteria) + 2), headings, rows, caption))
    for line in () if scored.judge.is_offline else _account(result, scored):
        console.say(line)
    for tally in _tallies(scored):
        console.say(f"wrote {tally.path}")


def _account(result: Result, scored: Scored) -> list[str]:
    """What was asked and paid, what the control answers got, and whether it ended early."""
    spent, survey, scale = scored.spent, scored.survey, result.rubric.front.scale
    lines = [
        f"asked {spent.replies:,} times: {spent.prompt_tokens:,} tokens in, {spent.completion_tokens:,} out, "
        f"{usd(spent.cost_usd)}; the ledger saved {survey.settled:,} requests, "
        f"{survey.saved_prompt_tokens + survey.saved_completion_tokens:,} tokens, {usd(survey.saved_usd)}"
    ]
    if planted := _planted(scored):
        kinds = summarise(planted, scale.min, scale.max)["kinds"]
        means = ", ".join(f"{kind} {summary['mean']:.0%}" for kind, summary in kinds.items())
        tokens, cost_usd = _cost(planted)
        cost = f"they cost {tokens:,} tokens, {usd(cost_usd)}"
        lines.append(f"control answers (mean share of the scale): {means}; {cost}")
    if (early := scored.early) and early["decided"]:
        lines.append(
            f"settled after {early['items']:,} items; {early['items_saved']:,} were saved (alpha {early['alpha']:g})"
        )
    return lines
