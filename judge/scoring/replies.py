"""What becomes of a reply, one by one or of a batch: it is read, counted and committed before anyone uses it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from judge.endpoints.provider import Draft, JudgeRequest, Provider, Reply
from judge.scoring.budget import JudgingBudget
from judge.scoring.expected_scores import expected_scores
from judge.scoring.ledger import Ledger
from judge.scoring.parse import ParsedReply, Unreadable, read

MOST_REASKS = 2


def parse_reply(request: JudgeRequest, reply: Reply, *, asked_before: int) -> ParsedReply:
    """Verdict, failure or problem of a reply to a request that was asked so often before. No reply raises anything."""
    if reply.failure:
        return ParsedReply(failure=reply.failure)
    rubric, is_cut = request.rubric, reply.finish_reason == "length"
    try:
        verdict = read(rubric, request.labels, reply.text, is_cut=is_cut)
    except Exception as error:
        problem = str(error) if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
        if is_cut:
            return ParsedReply(failure={"reason": "truncated", "detail": _cut_off(reply.limit_tokens)})
        if asked_before >= MOST_REASKS:
            return ParsedReply(failure={"reason": "unparsable", "detail": problem})
        return ParsedReply(problem=problem)
    if reply.logprobs and rubric.front.output.type == "scores":
        with suppress(Exception):  # odd log-probabilities leave the scores as they were given
            for label, expected in expected_scores(rubric, reply.text, reply.logprobs).items():
                if label in verdict:
                    verdict[label] = replace(verdict[label], expected=expected)
    return ParsedReply(verdict)


def _cut_off(limit_tokens: float | None) -> str:
    if limit_tokens is None:
        return "the reply reached its limit of tokens"
    return (
        f"the reply reached its limit of {limit_tokens:g} tokens; --param max_tokens={4 * limit_tokens:g} gives it more"
    )


@dataclass(frozen=True)
class ReplyRecorder:
    """Takes replies in: into the budget and the ledger."""

    provider: Provider
    ledger: Ledger
    budget: JudgingBudget

    def take(self, sha: str, request: JudgeRequest, reply: Reply, drafts: Sequence[Draft]) -> str | None:
        """Read, count and commit a reply; returns the problem if the request is to be asked again."""
        is_limited = self.budget.limit_usd is not None or not reply.has_usage
        cost = self.budget.count(reply, self.provider.worst_usd(request, drafts) if is_limited else 0.0)
        parsed = parse_reply(request, reply, asked_before=len(drafts))
        self.ledger.record(sha, self.provider, request, reply, parsed, cost)
        self.budget.reasked += parsed.problem is not None
        return parsed.problem
