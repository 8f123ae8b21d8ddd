"""The document of `judge score --json`; its keys are described in docs/judges.md."""

from __future__ import annotations

from judge.scoring.score import ScoreResult
from judge.scoring.scorer import Scorer


def score_document(result: ScoreResult) -> dict[str, object]:
    """What was judged by whom, what it cost, and where it was written."""
    return {
        "format": "equiloss.score.v1",
        "dry_run": result.request.dry_run,
        "rubric": result.rubric.about,
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
        "judges": [_judge(result, judge) for judge in result.judges],
        "ledger": str(result.ledger) if result.ledger else None,
        "prices_as_of": result.prices.as_of,
        "warnings": result.all_warnings(),
        "stopped": str(result.stopped) if result.stopped else None,
    }


def _judge(result: ScoreResult, judge: Scorer) -> dict[str, object]:
    provider, budget = judge.provider, judge.budget
    asked: dict[str, object] = {
        "judge": provider.name,
        "is_llm": provider.is_llm,
        "notice": provider.notice or None,
        "requests": judge.n_requests,
        "from_ledger": judge.n_settled,
        "to_ask": judge.n_to_ask,
    }
    if result.request.dry_run:
        estimated = {"prompt": judge.prompt_tokens, "completion": judge.completion_tokens}
        return {**asked, "tokens": estimated, "cost_usd": judge.estimate_usd}
    summary, (tokens, cost_usd) = judge.control_summary, judge.control_cost
    return {
        **asked,
        "replies": budget.replies,
        "reasked": budget.reasked,
        "retries": budget.retries,
        "lost": len(budget.lost),
        "tokens": {
            "prompt": budget.prompt_tokens,
            "completion": budget.completion_tokens,
            "cached": budget.cached_tokens,
        },
        "cost_usd": budget.cost_usd,
        "saved": {
            "requests": judge.n_settled,
            "prompt_tokens": judge.saved_prompt_tokens,
            "completion_tokens": judge.saved_completion_tokens,
            "cost_usd": judge.saved_usd,
        },
        "endpoint": provider.capability_record if judge.n_to_ask else None,
        "results": [
            {
                "generator": model.generator,
                "path": str(model.path),
                "verdicts": model.n,
                "mean": model.mean,
                "failures": len(model.failures),
                "failures_path": str(model.failures_path) if model.failures else None,
            }
            for model in judge.written
        ],
        "canaries": {**summary, "tokens": tokens, "cost_usd": cost_usd} if summary["kinds"] else None,
        "early_stop": judge.early_stopping.report() if judge.early_stopping else None,
    }
