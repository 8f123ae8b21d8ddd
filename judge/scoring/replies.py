"""What becomes of a reply, one by one or of a batch: it is read, counted and committed before anyone uses it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from judge.endpoints.provider import JudgeRequest, Provider, Reply
from judge.scoring.budget import JudgingBudget
from judge.scoring.expected_scores import expected_scores
from judge.scoring.ledger import Ledger
from judge.scoring.parse import ParsedReply, Unreadable, read

MOST_REASKS = 2


def parse_reply(request: JudgeRequest, reply: Reply, *, asked_before: int) -> ParsedReply:
    """Verdict, failure or problem of a reply to a request that was asked so often before."""
    if reply.error:
        return ParsedReply(failure={"reason": "error", "detail": reply.error})
    if reply.refusal or reply.finish_reason == "content_filter":
        detail = reply.refusal or "stopped by the endpoint's content filter"
        return ParsedReply(failure={"reason": "refusal", "detail": detail})
    rubric = request.rubric
    try:
        verdict = read(rubric, request.labels, reply.text)
    except Unreadable as error:
        if reply.finish_reason == "length":
            return ParsedReply(failure={"reason": "truncated", "detail": "the reply reached its limit of tokens"})
        if asked_before >= MOST_REASKS:
            return ParsedReply(failure={"reason": "unparsable", "detail": str(error)})
        return ParsedReply(problem=str(error))
    if reply.logprobs and rubric.front.output.type == "scores":
        for label, expected in expected_scores(rubric, reply.text, reply.logprobs).items():
            if label in verdict:
                verdict[label] = replace(verdict[label], expected=expected)
    return ParsedReply(verdict)


@dataclass(frozen=True)
class ReplyRecorder:
    """Takes replies in: into the budget and the ledger."""

    provider: Provider
    ledger: Ledger
    budget: JudgingBudget

    def take(self, sha: str, request: JudgeRequest, reply: Reply, asked_before: int) -> str | None:
        """Read, count and commit a reply; returns the problem if the request is to be asked again."""
        cost = self.budget.count(reply)
        parsed = parse_reply(request, reply, asked_before=asked_before)
        self.ledger.record(sha, self.provider, request, reply, parsed, cost)
        self.budget.reasked += parsed.problem is not None
        return parsed.problem
