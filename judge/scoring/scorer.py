"""One plan judged by one judge: what the ledger lacks is asked, and verdicts are written from the ledger alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError
from equiloss.records.verdict import ControlVerdict
from judge.endpoints.capabilities import CapabilityRecord
from judge.endpoints.provider import Provider
from judge.scoring.batch import BatchExecutor
from judge.scoring.budget import JudgingBudget
from judge.scoring.early_stopping import EarlyStopping, EarlyStopReport
from judge.scoring.executor import Executor, ExecutorSettings
from judge.scoring.ledger import Ledger
from judge.scoring.plan import Plan, PlannedRequest
from judge.scoring.verdict_writer import VerdictWriter, WrittenVerdicts

_SHA_BYTES = 32


@dataclass
class PlanStatus:
    """What a plan needs: its requests, those that the ledger settles, what they cost, and tokens still to be asked."""

    requests: int = 0
    settled: int = 0
    paid_usd: float = 0.0
    saved_prompt_tokens: int = 0
    saved_completion_tokens: int = 0
    saved_usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    shas: bytearray = field(default_factory=bytearray)

    @property
    def to_ask(self) -> int:
        """Requests that are still to be asked."""
        return self.requests - self.settled

    def sha(self, index: int) -> str:
        """The key of a request by its place in the plan."""
        return self.shas[index * _SHA_BYTES : (index + 1) * _SHA_BYTES].hex()


@dataclass
class ScoringResult:
    """What judging with one judge gave, for the summary. `stopped` is why it ended before the end, if it did."""

    provider: Provider
    status: PlanStatus
    budget: JudgingBudget
    written: list[WrittenVerdicts] = field(default_factory=list[WrittenVerdicts])
    capabilities: CapabilityRecord | None = None
    stopped: EquilossError | None = None
    early_stop: EarlyStopReport | None = None

    @property
    def control_answers(self) -> list[ControlVerdict]:
        """The verdicts on control answers."""
        return [verdict for model in self.written for verdict in model.control_answers]

    @property
    def control_cost(self) -> tuple[int, float | None]:
        """Tokens and dollars of the control answers; None for dollars where no price is known."""
        costs = [verdict.cost_usd for verdict in self.control_answers if verdict.cost_usd is not None]
        usages = [verdict.usage for verdict in self.control_answers]
        tokens = sum(usage.prompt_tokens + usage.completion_tokens for usage in usages)
        return tokens, sum(costs) if costs else None


class Scorer:
    """Judges one plan with one judge.

    `name` is the judge's in file names. `early_stop` (an error rate) and `batch_poll_s` (batches instead of single
    requests) count where the judge costs something.
    """

    def __init__(
        self,
        plan: Plan,
        provider: Provider,
        ledger: Ledger,
        settings: ExecutorSettings,
        name: str = "",
        expected: bool = False,
        early_stop: float | None = None,
        batch_poll_s: float | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Raises: InputError when the settings are wrong, or there is a budget but no price."""
        settings.check()
        self.plan, self.provider, self.settings = plan, provider, settings
        self._ledger, self._name, self._expected = ledger, name or provider.model, expected
        self._batch_poll_s, self._say = batch_poll_s, say
        self._early_stop = EarlyStopping(plan, early_stop) if early_stop is not None and not provider.is_free else None
        if settings.max_usd is not None and provider.cost_usd(0, 0) is None:
            raise InputError(
                f"--max-usd needs the price of {provider.model}, which is not in the price table",
                "give it in a TOML file with --prices; see docs/judges.md",
            )
        provider.recall(self._ledger.capabilities(provider))

    def status(self, count_tokens: Callable[[str], int] | None = None) -> PlanStatus:
        """Go through the plan once: keys, what the ledger has, and with `count_tokens` the tokens still to be asked."""
        status = PlanStatus()
        for request in self.plan:
            sha = self.provider.request_sha(request)
            status.shas += bytes.fromhex(sha)
            status.requests += 1
            paid = self._ledger.paid(sha)
            status.paid_usd += paid.cost_usd
            if self._ledger.is_settled(sha, self.settings.retry_failures):
                status.settled += 1
                status.saved_prompt_tokens += paid.prompt_tokens
                status.saved_completion_tokens += paid.completion_tokens
                status.saved_usd += paid.cost_usd
            elif count_tokens is not None:
                prompt = request.prompt
                status.prompt_tokens += count_tokens(prompt.system) + count_tokens(prompt.user) + 8
                status.completion_tokens += self.plan.rubric.reply_estimate_tokens(len(request.slots))
        return status

    def planned(self, status: PlanStatus) -> ScoringResult:
        """What a dry run tells."""
        return ScoringResult(self.provider, status, JudgingBudget(self.provider))

    def run(
        self, status: PlanStatus, directory: Path | None, on_settled: Callable[[str], None] = lambda _: None
    ) -> ScoringResult:
        """Ask what is missing and write the results. What stopped it, if anything, is in the result.

        Raises: IncompleteError or InputError when nothing could be written.
        """
        budget = JudgingBudget(self.provider, self.settings.max_usd, status.paid_usd)
        stopped: EquilossError | None = None
        if status.to_ask:
            try:
                asyncio.run(self._ask(status, budget, on_settled))
            except BudgetError as error:
                stopped = error
            except IncompleteError as error:
                done = sum(self._ledger.is_settled(status.sha(index)) for index in range(status.requests))
                raise IncompleteError(
                    f"{error.message} [{done:,} of {status.requests:,} requests are settled]", error.hint
                ) from None
        self._is_decided(status)
        early_stop = self._early_stop.report() if self._early_stop else None
        n_items = early_stop["items"] if early_stop and early_stop["decided"] else None
        writer = VerdictWriter(self.plan, self.provider, self._ledger, budget.lost, self._name, self._expected)
        written = writer.write(self._requests(status, n_items), directory)
        if stopped is None and budget.lost:
            why = next(iter(budget.lost.values()))
            stopped = IncompleteError(
                f"{len(budget.lost):,} of {status.requests:,} requests got no answer ({why})",
                "the same command asks them again",
            )
        return ScoringResult(
            self.provider, status, budget, written, self.provider.capability_record, stopped, early_stop
        )

    async def _ask(self, status: PlanStatus, budget: JudgingBudget, on_settled: Callable[[str], None]) -> None:
        provider, ledger, settings = self.provider, self._ledger, self.settings
        if self._batch_poll_s is not None and (endpoint := provider.batch_endpoint) is not None:
            batches = BatchExecutor(
                provider, endpoint, ledger, settings, budget, lambda: self._requests(status), self._say
            )
            await batches.run(self._batch_poll_s)
        else:
            executor = Executor(provider, ledger, settings, budget, on_settled, lambda: self._is_decided(status))
            await executor.run(
                (sha, request)
                for sha, request in self._requests(status)
                if not ledger.is_settled(sha, settings.retry_failures)
            )

    def _is_decided(self, status: PlanStatus) -> bool:
        """Whether the models' differences are settled, by the items that are complete, in the plan's order."""
        return self._early_stop is not None and self._early_stop.advance(
            lambda index: self._ledger.entry(status.sha(index))
        )

    def _requests(self, status: PlanStatus, n_items: int | None = None) -> Iterator[tuple[str, PlannedRequest]]:
        """The plan's requests with their keys, of the first items only where a number is given."""
        inside = None if n_items is None else set(self.plan.ids[:n_items])
        for index, request in enumerate(self.plan):
            if inside is None or request.item.id in inside:
                yield status.sha(index), request
