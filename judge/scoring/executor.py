"""Gets the replies that a plan lacks: workers, budget, re-asks; each reply is committed before anything uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from equiloss.errors import BudgetError, EquilossError, InputError
from judge.endpoints.capabilities import Profile
from judge.endpoints.client import Client, Judge, Lost
from judge.endpoints.prices import Price
from judge.endpoints.provider import Reply
from judge.endpoints.rate_limits import Gate
from judge.rubrics import Prompt, Rubric
from judge.scoring.budget import Spent, worst_usd
from judge.scoring.expected_scores import expected_scores
from judge.scoring.ledger import Ledger
from judge.scoring.parse import Unreadable, read
from judge.scoring.plan import Ask, reply_limit_tokens

CHARACTERS_PER_TOKEN = 3.5
MOST_REASKS = 2
_DEFERRED_POLL_S = 0.5
_PROBE_S = 0.1
_DEFERRED_MOST_S = 900.0


@dataclass(frozen=True)
class Settings:
    """How to talk to the endpoint. `max_usd` bounds what the whole plan has cost, earlier runs included."""

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_s: float = 300.0
    max_usd: float | None = None
    retry_failures: bool = False
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])

    def check(self) -> None:
        """Raises: InputError for values that make no sense."""
        if self.concurrency < 1:
            raise InputError(f"--concurrency {self.concurrency} asks nothing", "give at least 1")
        if self.max_usd is not None and self.max_usd < 0:
            raise InputError(f"--max-usd {self.max_usd:g} is negative", "give a budget in dollars")
        for name, value in (("--rpm", self.requests_per_minute), ("--tpm", self.tokens_per_minute)):
            if value is not None and value <= 0:
                raise InputError(f"{name} {value:g} lets nothing pass", "leave it out or give a positive number")
        if self.timeout_s <= 0:
            raise InputError(f"--timeout {self.timeout_s:g} is not positive", "give seconds")


class Budget:
    """A hard limit in dollars: what was spent and what is in flight at its worst never exceed it."""

    def __init__(self, limit_usd: float | None, spent_usd: float) -> None:
        self._limit, self._spent, self._reserved = limit_usd, spent_usd, 0.0
        self._changed = asyncio.Event()

    async def reserve(self, worst_usd: float) -> None:
        """Wait until the worst case of a request fits.

        Raises: BudgetError when it does not fit although nothing is in flight.
        """
        if self._limit is None:
            return
        while self._spent + self._reserved + worst_usd > self._limit:
            if self._reserved <= 1e-12:
                raise BudgetError(
                    f"stopped at the budget: ${self._spent:.4f} of ${self._limit:g} spent, and the next request may "
                    f"cost ${worst_usd:.4f}",
                    "the same command with a larger --max-usd goes on from here",
                )
            self._changed.clear()
            await self._changed.wait()
        self._reserved += worst_usd

    def settle(self, worst_usd: float, actual_usd: float) -> None:
        """Replace a reservation by what the request really cost."""
        if self._limit is not None:
            self._reserved = max(0.0, self._reserved - worst_usd)
            self._spent += actual_usd
            self._changed.set()


class Asker:
    """Asks a judge what a plan lacks."""

    def __init__(
        self,
        judge: Judge,
        rubric: Rubric,
        ledger: Ledger,
        settings: Settings,
        price: Price | None,
        on_settled: Callable[[str], None] | None = None,
    ) -> None:
        self._judge, self._rubric, self._ledger, self._settings, self._price = judge, rubric, ledger, settings, price
        self._on_settled = on_settled
        self._stop: EquilossError | None = None
        self._flying: set[str] = set()
        self._deferred: list[tuple[str, Ask]] = []
        self.spent = Spent(cost_usd=0.0 if price else None)
        self.profile = Profile.of(ledger.profile(judge.base_url, judge.model), judge.base_url)
        self.profile.settled = False

    def stop_when(self, condition: Callable[[], bool]) -> None:
        """End early, without an error, as soon as the condition holds before a request is started."""
        self._condition = condition

    _condition: Callable[[], bool] | None = None

    async def run(self, pending: Iterable[tuple[str, Ask]], paid_usd: float) -> None:
        """Ask all pending requests, `concurrency` at a time. What is in flight when it must stop is still collected.

        Raises: BudgetError, IncompleteError or InputError, after everything in flight has been committed.
        """
        budget = Budget(self._settings.max_usd, paid_usd)
        gate = Gate(self._settings.requests_per_minute, self._settings.tokens_per_minute)
        queue = iter(pending)
        settings = self._settings
        async with Client(self._judge, self.profile, gate, settings.concurrency, settings.timeout_s) as client:
            try:
                async with asyncio.TaskGroup() as group:
                    answered = asyncio.Event()
                    group.create_task(self._work(client, budget, queue, answered))
                    await self._probe(client, answered)
                    for _ in range(settings.concurrency - 1):
                        group.create_task(self._work(client, budget, queue))
                await self._await_others(client, budget)
            finally:
                self.spent.retries = client.retries
                with suppress(Exception):
                    self._ledger.keep_profile(self._judge.base_url, self._judge.model, self.profile.record())
        if self._stop is not None:
            raise self._stop

    async def _probe(self, client: Client, answered: asyncio.Event) -> None:
        """Let the first request find out what the endpoint accepts: a refusal comes at once, an answer takes its time.

        So the others wait for its end only when something went wrong with it in its first moments.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), _PROBE_S)
        if not client.clean:
            await answered.wait()

    async def _work(
        self,
        client: Client,
        budget: Budget,
        queue: Iterator[tuple[str, Ask]],
        answered: asyncio.Event | None = None,
    ) -> None:
        try:
            await self._ask_all(client, budget, queue, answered)
        finally:
            if answered is not None:
                answered.set()

    async def _ask_all(
        self, client: Client, budget: Budget, queue: Iterator[tuple[str, Ask]], answered: asyncio.Event | None
    ) -> None:
        while self._stop is None:
            if self._condition is not None and self._condition():
                return
            sha, ask = next(queue, (None, None))
            if sha is None or ask is None:
                return
            if sha in self._flying or self._ledger.is_settled(sha, self._settings.retry_failures):
                continue
            if not self._ledger.claim(sha):
                self._deferred.append((sha, ask))
                continue
            if self._ledger.is_settled(sha, self._settings.retry_failures):  # by another process, just now
                self._ledger.release(sha)
                continue
            await self._guarded(client, budget, sha, ask)
            if answered is not None:
                answered.set()

    async def _guarded(self, client: Client, budget: Budget, sha: str, ask: Ask) -> None:
        self._flying.add(sha)
        try:
            await self._settle(client, budget, sha, ask)
        except Lost as error:
            self.spent.lost[sha] = str(error)
            self._ledger.release(sha)
        except EquilossError as error:
            self._stop = self._stop or error
            self._ledger.release(sha)
        finally:
            self._flying.discard(sha)
        if self._on_settled is not None:
            self._on_settled(sha)

    async def _await_others(self, client: Client, budget: Budget) -> None:
        """Requests that another process is asking: wait for its answer, and ask if it dies."""
        waited_s = 0.0
        while self._deferred and self._stop is None:
            still: list[tuple[str, Ask]] = []
            for sha, ask in self._deferred:
                mine = self._ledger.claim(sha) or waited_s > _DEFERRED_MOST_S
                if self._ledger.is_settled(sha, self._settings.retry_failures):  # asked after the claim: no gap between
                    self._ledger.release(sha)
                    if self._on_settled is not None:
                        self._on_settled(sha)
                elif mine:
                    await self._guarded(client, budget, sha, ask)
                else:
                    still.append((sha, ask))
            self._deferred = still
            if still:
                await asyncio.sleep(_DEFERRED_POLL_S)
                waited_s += _DEFERRED_POLL_S

    async def _settle(self, client: Client, budget: Budget, sha: str, ask: Ask) -> None:
        prompt = ask.prompt(self._rubric)
        schema = self._rubric.schema(prompt.labels)
        limit = reply_limit_tokens(self._rubric, len(ask.slots))
        about = {
            "judge": self._judge.name,
            "base_url": self._judge.base_url,
            "rubric": self._rubric.name,
            "item": ask.item.id,
            "repeat": ask.repeat,
        }
        drafts = self._ledger.drafts(sha)
        while True:
            messages = prompt.messages if not drafts else messages_again(prompt, *drafts[-1])
            tokens = round(sum(len(one["content"]) for one in messages) / CHARACTERS_PER_TOKEN)
            worst = worst_usd(messages, limit + self._judge.reasoning_tokens, self._price)
            await budget.reserve(worst)
            cost: float | None = None
            try:
                reply = await client.ask(messages, schema, self._settings.parameters, limit, tokens + limit)
                cost = self.spent.count(reply, self._price)
            finally:
                budget.settle(worst, cost or 0.0)
            verdict, failure, problem = judge_reply(self._rubric, prompt, reply, asked_before=len(drafts))
            self._ledger.record(sha, reply, cost, about, verdict=verdict, failure=failure, problem=problem)
            if verdict is not None or failure is not None:
                return
            drafts = [*drafts, (reply.text, problem or "")]
            self.spent.reasked += 1


def judge_reply(
    rubric: Rubric, prompt: Prompt, reply: Reply, *, asked_before: int
) -> tuple[dict[str, Any] | None, dict[str, str] | None, str | None]:
    """Verdict, failure or problem (worth a re-ask) of a reply: exactly one of the three is given."""
    if reply.refusal or reply.finish_reason == "content_filter":
        detail = reply.refusal or "stopped by the endpoint's content filter"
        return None, {"reason": "refusal", "detail": detail}, None
    try:
        readings = read(rubric, prompt.labels, reply.text)
    except Unreadable as error:
        if reply.finish_reason == "length":
            return None, {"reason": "truncated", "detail": "the reply reached its limit of tokens"}, None
        if asked_before >= MOST_REASKS:
            return None, {"reason": "unparsable", "detail": str(error)}, None
        return None, None, str(error)
    verdict: dict[str, Any] = {
        label: {"scores": one.scores, "explanation": one.explanation} for label, one in readings.items()
    }
    if reply.logprobs and rubric.front.output.type == "scores":
        for label, expected in expected_scores(rubric, reply.text, reply.logprobs).items():
            if label in verdict:
                verdict[label]["expected"] = expected
    return verdict, None, None


def messages_again(prompt: Prompt, text: str, problem: str) -> list[dict[str, str]]:
    """The prompt, the reply that could not be read, and what was wrong with it."""
    again = f"That reply could not be used: {problem}. Reply again with the JSON object alone."
    return [*prompt.messages, {"role": "assistant", "content": text}, {"role": "user", "content": again}]
