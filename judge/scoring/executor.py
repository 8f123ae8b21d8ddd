"""Gets the replies that a plan lacks: workers, budget, re-asks; each reply is committed before anything uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from equiloss.errors import EquilossError, InputError
from equiloss.numerals import duration
from judge.endpoints.provider import NoReplyError, Provider, RefusedError
from judge.scoring.budget import JudgingBudget
from judge.scoring.ledger import BEAT_S, LEASE_S, Ledger
from judge.scoring.options import ScoreRequest
from judge.scoring.plan import PlannedRequest
from judge.scoring.replies import ReplyRecorder

_DEFERRED_POLL_S = 0.5
_TOLD_S = 5.0
_MOST_REFUSED = 8
_PROBE_S = 0.1
_DEFERRED_MOST_S = 900.0


class RequestExecutor:
    """Asks a provider what a plan lacks, many requests at once.

    `on_settled` is called with the key of each request that needs no more asking; before one is started, `is_decided`
    may end it all early without an error.
    """

    def __init__(
        self,
        provider: Provider,
        ledger: Ledger,
        options: ScoreRequest,
        budget: JudgingBudget,
        on_settled: Callable[[str], None],
        is_decided: Callable[[], bool],
    ) -> None:
        self._provider, self._ledger, self._options, self._budget = provider, ledger, options, budget
        self._on_settled, self._is_decided = on_settled, is_decided
        self._recorder = ReplyRecorder(provider, ledger, budget)
        self._stop: EquilossError | None = None
        self._flying: set[str] = set()
        self._deferred: list[tuple[str, PlannedRequest]] = []
        self._refused: list[tuple[str, PlannedRequest, str]] = []  # before anything was answered, with the words

    async def run(self, pending: Iterable[tuple[str, PlannedRequest]]) -> None:
        """Ask all pending requests, `concurrency` at a time. What is in flight when it must stop is still collected.

        Raises: BudgetError, IncompleteError or InputError, after everything in flight has been committed.
        """
        queue = iter(pending)
        async with self._provider.connect(self._options):
            heart = asyncio.create_task(self._beat())
            try:
                async with asyncio.TaskGroup() as group:
                    answered = asyncio.Event()
                    group.create_task(self._work(queue, answered))
                    await self._probe(answered)
                    for _ in range(self._options.concurrency - 1):
                        group.create_task(self._work(queue, answered))
                await self._await_others()
                await self._ask_refused_again()
            finally:
                heart.cancel()
                self._budget.retries = self._provider.retries
                with suppress(EquilossError):
                    self._ledger.keep_capabilities(self._provider)
        if self._stop is not None:
            raise self._stop

    async def _probe(self, answered: asyncio.Event) -> None:
        """Let the first request find out what the endpoint accepts: a refusal comes at once, an answer takes its time.

        So the others wait for its end only when something went wrong with it in its first moments, or when there is a
        budget: the first reply shows whether its cost keeps to the limit that was sent.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), _PROBE_S)
        if not self._provider.clean or self._budget.limit_usd is not None:
            await answered.wait()

    async def _beat(self) -> None:
        """Tell processes on other hosts, while this one asks, that it lives."""
        while True:
            with suppress(EquilossError):  # the next one may be told again
                self._ledger.beat()
            await asyncio.sleep(BEAT_S)

    async def _work(self, queue: Iterator[tuple[str, PlannedRequest]], answered: asyncio.Event) -> None:
        try:
            while self._stop is None and not self._is_decided():
                sha, request = next(queue, (None, None))
                if sha is None or request is None:
                    return
                if sha in self._flying or self._is_settled(sha):
                    continue
                if not self._ledger.claim(sha):
                    self._deferred.append((sha, request))
                elif self._is_settled(sha):  # by another process, just now
                    self._ledger.release(sha)
                else:
                    await self._settle(sha, request)
                    answered.set()
        finally:
            answered.set()

    async def _await_others(self) -> None:
        """Requests that another process is asking: wait for its answer, and ask if it dies."""
        waited_s = told_s = 0.0
        while self._deferred and self._stop is None:
            if waited_s >= told_s:
                told_s += _TOLD_S
                self._provider.tell(
                    f"waiting for {len(self._deferred):,} requests that a process on {self._ledger.holder} asks, for "
                    f"{duration(waited_s)} (one on another host is given up when it is silent for {LEASE_S:g} s)"
                )
            waiting, self._deferred = self._deferred, []
            for sha, request in waiting:
                is_mine = self._ledger.claim(sha) or waited_s > _DEFERRED_MOST_S
                if self._is_settled(sha):  # looked up after the claim: no gap between
                    self._ledger.release(sha)
                    self._on_settled(sha)
                elif is_mine:
                    await self._settle(sha, request)
                else:
                    self._deferred.append((sha, request))
            if self._deferred:
                await asyncio.sleep(_DEFERRED_POLL_S)
                waited_s += _DEFERRED_POLL_S

    async def _ask_refused_again(self) -> None:
        """What was refused before anything was answered: its own fault if the endpoint answers others, else all's."""
        refused, self._refused = self._refused, []
        for sha, request, words in refused:
            if self._stop is None and not self._provider.settled:
                self._stop = InputError(words, "see docs/judges.md")
            if self._stop is None and self._ledger.claim(sha):
                await self._settle(sha, request)

    def _is_settled(self, sha: str) -> bool:
        return self._ledger.is_settled(sha, self._options.retry_failures)

    async def _settle(self, sha: str, request: PlannedRequest) -> None:
        """Ask one request until it is settled; what goes wrong is noted, and ends the others if it concerns them."""
        self._flying.add(sha)
        try:
            await self._ask(sha, request)
        except NoReplyError as error:
            self._budget.lost[sha] = str(error)
            self._ledger.release(sha)
        except RefusedError as error:
            self._refused.append((sha, request, str(error)))
            self._ledger.release(sha)
            if not self._provider.settled and len(self._refused) >= _MOST_REFUSED:
                self._stop = self._stop or InputError(str(error), "see docs/judges.md")
            return
        except EquilossError as error:
            self._stop = self._stop or error
            with suppress(EquilossError):
                self._ledger.release(sha)
        finally:
            self._flying.discard(sha)
        self._on_settled(sha)

    async def _ask(self, sha: str, request: PlannedRequest) -> None:
        while True:
            drafts = self._ledger.drafts(sha)
            worst_usd = self._provider.worst_usd(request, drafts) if self._budget.limit_usd is not None else 0.0
            async with self._budget.reserving(worst_usd):
                reply = await self._provider.ask(request, drafts)
                problem = self._recorder.take(sha, request, reply, drafts)
            if problem is None:
                return
