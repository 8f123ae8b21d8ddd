"""One plan judged by one judge: what the ledger lacks is asked, and verdicts are written from the ledger alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError
from equiloss.records.verdict import ControlVerdict
from judge.data.control_answers import ControlSummary, summarise
from judge.endpoints.provider import BatchProvider, Provider, Reply
from judge.scoring.batch import BatchExecutor
from judge.scoring.budget import JudgingBudget
from judge.scoring.early_stopping import EarlyStopping
from judge.scoring.executor import RequestExecutor
from judge.scoring.ledger import Ledger, LedgerEntry
from judge.scoring.parse import ParsedReply, Reading
from judge.scoring.plan import Plan, PlannedRequest
from judge.scoring.verdict_writer import VerdictWriter, WrittenVerdicts

_SHA_BYTES = 32


class Scorer:
    """Judges a plan with one judge, and tells what came of it.

    n_requests: what the plan needs, of which the ledger settled `n_settled` before. saved_prompt_tokens and so on: what
    these cost when they were asked. prompt_tokens, completion_tokens: what is still to be asked, where it was counted.
    written: the files, by model. stopped: why it ended before the end, if it did. early_stopping: None where a judge
    costs nothing, as batches count for nothing there.
    """

    def __init__(self, plan: Plan, provider: Provider, ledger: Ledger, paths: Sequence[Path]) -> None:
        """`paths`: where the verdicts on each of the plan's files go.

        Raises: InputError when there is a budget but no price, or nothing that could stop early.
        """
        options = plan.options
        self.plan, self.provider, self.options = plan, provider, options
        self._ledger, self._paths = ledger, paths
        self.n_requests = self.n_settled = 0
        self.saved_prompt_tokens = self.saved_completion_tokens = 0
        self.saved_usd = 0.0
        self.prompt_tokens = self.completion_tokens = 0
        self.budget = JudgingBudget(provider, options.max_usd)
        self.written: list[WrittenVerdicts] = []
        self.stopped: EquilossError | None = None
        self.early_stopping: EarlyStopping | None = None
        if options.early_stop is not None and not provider.is_free:
            self.early_stopping = EarlyStopping(plan, options.early_stop)
        if options.max_usd is not None and provider.cost_usd(0, 0) is None:
            raise InputError(
                f"--max-usd needs the price of {provider.model}, which is not in the price table",
                "give --price IN,OUT, or a TOML file with --prices; see docs/judges.md",
            )
        self._shas = bytearray()  # the keys of all requests, 32 bytes each
        if options.forget_endpoint and not options.dry_run:
            ledger.forget_endpoint(provider.model, provider.base_url)
        provider.recall(ledger.capabilities(provider))

    @property
    def n_to_ask(self) -> int:
        """Requests that are still to be asked."""
        return self.n_requests - self.n_settled

    def survey(self, count_tokens: Callable[[str], int] | None = None) -> None:
        """Go through the plan once: keys, what the ledger has, and with `count_tokens` the tokens still to be asked."""
        for request in self.plan:
            sha = self.provider.request_sha(request)
            self._shas += bytes.fromhex(sha)
            self.n_requests += 1
            entry = self._ledger.entry(sha)
            if request.is_tie and entry.verdict is None:
                entry = self._settle_tie(sha, request)
            self.budget.paid_usd += entry.cost_usd or 0.0
            if entry.verdict is not None or (entry.failure is not None and not self.options.retry_failures):
                self.n_settled += 1
                self.saved_prompt_tokens += entry.prompt_tokens
                self.saved_completion_tokens += entry.completion_tokens
                self.saved_usd += entry.cost_usd or 0.0
            elif count_tokens is not None:
                self.prompt_tokens += count_tokens(request.prompt.system) + count_tokens(request.prompt.user) + 8
                self.completion_tokens += self.plan.rubric.reply_estimate_tokens(len(request.slots))

    def _settle_tie(self, sha: str, request: PlannedRequest) -> LedgerEntry:
        """Two equal answers are a tie, which need not be asked; the ledger says so, unless nothing is to be kept."""
        text = "the answers are equal: a tie, by rule"
        readings = {label: Reading({request.rubric.criteria[0]: 0.5}, text) for label in request.labels}
        if not self.options.dry_run:
            cost = self.provider.cost_usd(0, 0)
            self._ledger.record(sha, self.provider, request, Reply(text, ""), ParsedReply(readings), cost)
        return LedgerEntry(readings, None, "", text, 0, 0, None)

    def run(self, on_settled: Callable[[str], None] = lambda _: None) -> None:
        """Ask what the survey missed, and write the results. What stopped it, if anything, is in `stopped`.

        Raises: IncompleteError or InputError when nothing could be written.
        """
        if self.n_to_ask:
            try:
                asyncio.run(self._ask(on_settled))
            except BudgetError as error:
                self.stopped = error
            except IncompleteError as error:
                n_done = sum(self._ledger.is_settled(self._sha(index)) for index in range(self.n_requests))
                raise IncompleteError(
                    f"{error.message} [{n_done:,} of {self.n_requests:,} requests are settled]", error.hint
                ) from None
        lost = self.budget.lost
        n_items = self.early_stopping.items if self.early_stopping and self._is_decided() else None
        writer = VerdictWriter(self.plan, self.provider, self._ledger, lost, self._paths)
        self.written = writer.write(self._requests(n_items))
        if self.stopped is None and lost:
            self.stopped = IncompleteError(
                f"{len(lost):,} of {self.n_requests:,} requests got no answer ({next(iter(lost.values()))})",
                "the same command asks them again",
            )
        if self.stopped is None and self.n_requests and not any(model.n for model in self.written):
            self.stopped = EquilossError(
                f"there is no verdict at all: {self.failure_reasons()}", "--retry-failures asks again"
            )

    def failure_reasons(self) -> str:
        """How many answers have no verdict, for which reasons, the commonest first; empty where all have one."""
        failures = [failure for model in self.written for failure in model.failures]
        reasons = Counter(failure.reason for failure in failures)
        details = Counter((failure.reason, " ".join(failure.detail.split())[:160]) for failure in failures)
        commonest = {reason: detail for (reason, detail), _ in reversed(details.most_common())}
        return "; ".join(
            f"{count:,} of {len(failures):,}: {reason}: {commonest[reason]}" for reason, count in reasons.most_common()
        )

    @property
    def control_answers(self) -> list[ControlVerdict]:
        """The verdicts on control answers."""
        return [verdict for model in self.written for verdict in model.control_answers]

    @property
    def control_summary(self) -> ControlSummary:
        """What the judge did with the control answers."""
        return summarise(self.control_answers, *self.plan.rubric.span)

    @property
    def control_cost(self) -> tuple[int, float | None]:
        """Tokens and dollars of the control answers; None for dollars where no price is known."""
        costs = [verdict.cost_usd for verdict in self.control_answers if verdict.cost_usd is not None]
        usages = [verdict.usage for verdict in self.control_answers]
        tokens = sum(usage.prompt_tokens + usage.completion_tokens for usage in usages)
        return tokens, sum(costs) if costs else None

    @property
    def estimate_usd(self) -> float | None:
        """What the requests still to be asked would probably cost; None without a price."""
        cost = self.provider.cost_usd(self.prompt_tokens, self.completion_tokens)
        batch = self.options.batch_poll_s is not None
        return cost * self.provider.batch_discount if cost is not None and batch else cost

    async def _ask(self, on_settled: Callable[[str], None]) -> None:
        provider, ledger, options = self.provider, self._ledger, self.options
        if options.batch_poll_s is not None and isinstance(provider, BatchProvider):
            batches = BatchExecutor(provider, ledger, options, self.budget, self._requests)
            await batches.run(options.batch_poll_s)
        else:
            executor = RequestExecutor(provider, ledger, options, self.budget, on_settled, self._is_decided)
            await executor.run(
                (sha, request)
                for sha, request in self._requests()
                if not ledger.is_settled(sha, options.retry_failures)
            )

    def _is_decided(self) -> bool:
        """Whether the models' differences are settled, by the items that are complete, in the plan's order."""
        return self.early_stopping is not None and self.early_stopping.advance(
            lambda index: self._ledger.entry(self._sha(index))
        )

    def _requests(self, n_items: int | None = None) -> Iterator[tuple[str, PlannedRequest]]:
        """The plan's requests with their keys, of the first items only where a number is given."""
        inside = None if n_items is None else set(self.plan.ids[:n_items])
        for index, request in enumerate(self.plan):
            if inside is None or request.item.id in inside:
                yield self._sha(index), request

    def _sha(self, index: int) -> str:
        return self._shas[index * _SHA_BYTES : (index + 1) * _SHA_BYTES].hex()
