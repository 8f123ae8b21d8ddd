"""One plan judged by one judge: surveys it, asks what the ledger lacks, and writes verdicts from the ledger alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError
from equiloss.records.verdict import ControlVerdict
from judge.endpoints.capabilities import Profile
from judge.endpoints.client import Judge
from judge.endpoints.prices import Price, PriceTable
from judge.rubrics import Prompt
from judge.scoring.batch import BatchRun
from judge.scoring.budget import Spent
from judge.scoring.early_stopping import Watch
from judge.scoring.executor import Asker, Settings
from judge.scoring.ledger import Ledger, Outcome
from judge.scoring.plan import Ask, Plan, reply_estimate_tokens, request_sha
from judge.scoring.verdict_writer import Tally, Written, write_offline, write_results

_SHA_BYTES = 32


@dataclass
class Survey:
    """What a plan needs: its requests, those that the ledger settles, and what they have cost so far."""

    requests: int = 0
    settled: int = 0
    answers: int = 0
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
class Scored:
    """The result of judging with one judge, for the summary. `stopped` is why it ended before the end, if it did."""

    judge: Judge
    survey: Survey
    spent: Spent
    written: Written | None
    profile: Profile | None = None
    price: Price | None = None
    stopped: EquilossError | None = None
    early: dict[str, Any] | None = None

    @classmethod
    def planned(cls, judge: Judge, survey: Survey, price: Price | None) -> Scored:
        """What a dry run tells."""
        return cls(judge, survey, Spent(), None, price=price)

    @property
    def tallies(self) -> Sequence[Tally]:
        """What was written for each model."""
        return self.written.tallies if self.written else ()

    @property
    def control_answers(self) -> list[ControlVerdict]:
        """The verdicts on control answers."""
        return [verdict for tally in self.tallies for verdict in tally.control_answers]

    @property
    def control_cost(self) -> tuple[int, float | None]:
        """Tokens and dollars of the control answers; None for dollars where no price is known."""
        costs = [verdict.cost_usd for verdict in self.control_answers if verdict.cost_usd is not None]
        usages = [verdict.usage for verdict in self.control_answers]
        tokens = sum(usage.prompt_tokens + usage.completion_tokens for usage in usages)
        return tokens, sum(costs) if costs else None


class Scoring:
    """Judging one plan with one judge."""

    def __init__(
        self,
        plan: Plan,
        judge: Judge,
        ledger: Ledger | None,
        settings: Settings,
        prices: PriceTable,
        file_name: str | None = None,
        expected: bool = False,
        early_stop: float | None = None,
        batch_poll_s: float | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Raises: InputError when the settings are wrong, or there is a budget but no price."""
        settings.check()
        self.plan, self.judge, self.settings = plan, judge, settings
        self.price = prices.find(judge.model)
        self._ledger, self._batch_poll_s, self._say = ledger, batch_poll_s, say
        self._discount = prices.batch_discount
        self._name, self._expected = file_name or judge.model, expected
        self._watch = Watch(plan, early_stop) if early_stop is not None else None
        if settings.max_usd is not None and self.price is None and not judge.is_offline:
            raise InputError(
                f"--max-usd needs the price of {judge.model}, which is not in the price table of {prices.as_of}",
                "give it in a TOML file with --prices; see docs/judges.md",
            )

    def survey(self, count_tokens: Callable[[str], int] | None = None) -> Survey:
        """Go through the plan once: keys, what the ledger has, and with `count_tokens` the tokens still to be asked."""
        survey = Survey()
        for ask in self.plan:
            prompt = ask.prompt(self.plan.rubric)
            sha = self._sha(ask, prompt)
            survey.shas += bytes.fromhex(sha)
            survey.requests += 1
            survey.answers += ask.n_answers
            paid = (0, 0, 0.0)
            settled = False
            if self._ledger is not None:
                paid = self._ledger.paid(sha)
                settled = self._ledger.is_settled(sha, self.settings.retry_failures)
            survey.paid_usd += paid[2]
            if settled:
                survey.settled += 1
                survey.saved_prompt_tokens += paid[0]
                survey.saved_completion_tokens += paid[1]
                survey.saved_usd += paid[2]
            elif count_tokens is not None:
                survey.prompt_tokens += count_tokens(prompt.system) + count_tokens(prompt.user) + 8
                survey.completion_tokens += reply_estimate_tokens(self.plan.rubric, len(ask.slots))
        return survey

    def run(self, directory: Path | None, on_settled: Callable[[str], None] | None, survey: Survey) -> Scored:
        """Ask what is missing and write the results. What stopped it, if anything, is in the result.

        Raises: IncompleteError or InputError when nothing could be written.
        """
        if self.judge.is_offline:
            written = write_offline(self.plan, self.judge, directory)
            return Scored(self.judge, survey, Spent(), written)
        assert self._ledger is not None
        asker = Asker(self.judge, self.plan.rubric, self._ledger, self.settings, self.price, on_settled)
        if self._watch is not None:
            asker.stop_when(lambda: self._is_decided(survey))
        stopped: EquilossError | None = None
        if survey.to_ask:
            try:
                if self._batch_poll_s is None:
                    asyncio.run(asker.run(self._pending(survey), survey.paid_usd))
                else:
                    self._run_batches(survey, asker.spent, self._batch_poll_s)
            except BudgetError as error:
                stopped = error
            except IncompleteError as error:
                done = sum(self._ledger.is_settled(survey.sha(index)) for index in range(survey.requests))
                raise IncompleteError(
                    f"{error.message} [{done:,} of {survey.requests:,} requests are settled]", error.hint
                ) from None
        early = self._early(survey)
        written = write_results(
            self._outcomes(survey, early["items"] if early and early["decided"] else None),
            self.plan,
            self.judge,
            self._ledger,
            asker.spent.lost,
            directory,
            self._name,
            self._expected,
        )
        if stopped is None and asker.spent.lost:
            what = next(iter(asker.spent.lost.values()))
            stopped = IncompleteError(
                f"{len(asker.spent.lost):,} of {survey.requests:,} requests got no answer ({what})",
                "the same command asks them again",
            )
        return Scored(self.judge, survey, asker.spent, written, asker.profile, self.price, stopped, early)

    def _run_batches(self, survey: Survey, spent: Spent, poll_s: float) -> None:
        assert self._ledger is not None
        batches = BatchRun(
            self.judge, self.plan.rubric, self._ledger, self.settings, self.price, self._discount, spent, self._say
        )
        batches.run(lambda: self._outcomes(survey), survey.paid_usd, poll_s)

    def _is_decided(self, survey: Survey) -> bool:
        """Feed the watch with the items that are complete, in the plan's order, and ask it."""
        assert self._watch is not None
        assert self._ledger is not None
        return self._watch.advance(lambda index: self._ledger_outcome(survey.sha(index)))

    def _ledger_outcome(self, sha: str) -> Outcome | None:
        assert self._ledger is not None
        return self._ledger.outcome(sha)

    def _early(self, survey: Survey) -> dict[str, Any] | None:
        if self._watch is None:
            return None
        self._is_decided(survey)
        return self._watch.report()

    def _pending(self, survey: Survey) -> Iterator[tuple[str, Ask]]:
        assert self._ledger is not None
        for sha, ask in self._outcomes(survey):
            if not self._ledger.is_settled(sha, self.settings.retry_failures):
                yield sha, ask

    def _outcomes(self, survey: Survey, n_items: int | None = None) -> Iterator[tuple[str, Ask]]:
        """The plan's requests with their keys, of the first items only where a number is given."""
        inside = None if n_items is None else set(self.plan.ids[:n_items])
        for index, ask in enumerate(self.plan):
            if inside is None or ask.item.id in inside:
                yield survey.sha(index), ask

    def _sha(self, ask: Ask, prompt: Prompt) -> str:
        return request_sha(
            prompt, self.judge.model, self.judge.base_url, self.plan.rubric, ask.repeat, self.settings.parameters
        )
