"""The document of `judge score --json`; its keys are described in docs/judges.md."""

from __future__ import annotations

from judge.endpoints import offline
from judge.scoring.score import Result
from judge.scoring.scorer import Scored


def score_document(result: Result) -> dict[str, object]:
    """What was judged by whom, what it cost, and where it was written."""
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
        "warnings": result.all_warnings(),
        "stopped": str(result.stopped) if result.stopped else None,
    }


def _judge(result: Result, scored: Scored) -> dict[str, object]:
    survey, spent, planted = scored.survey, scored.spent, scored.control_answers
    asked: dict[str, object] = {
        "judge": scored.judge.name,
        "is_llm": not scored.judge.is_offline,
        "notice": offline.NOTICE if scored.judge.is_offline else None,
        "requests": survey.requests,
        "from_ledger": survey.settled,
        "to_ask": survey.to_ask,
    }
    if result.request.dry_run:
        estimated = {"prompt": survey.prompt_tokens, "completion": survey.completion_tokens}
        return {**asked, "tokens": estimated, "cost_usd": result.estimate_usd(scored)}
    tokens, cost_usd = scored.control_cost
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
                "mean": tally.means,
                "failures": len(tally.failures),
                "failures_path": str(tally.failures_path) if tally.failures else None,
            }
            for tally in scored.tallies
        ],
        "canaries": {**result.control_summary(scored), "tokens": tokens, "cost_usd": cost_usd} if planted else None,
        "early_stop": scored.early,
    }
