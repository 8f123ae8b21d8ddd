"""Gets the replies that a plan lacks: workers, budget, re-asks; each reply is committed before anything uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from equiloss.errors import EquilossError
from judge.endpoints.provider import NoReplyError, Provider
from judge.scoring.budget import JudgingBudget
from judge.scoring.ledger import Ledger
from judge.scoring.options import ScoreRequest
from judge.scoring.plan import PlannedRequest
from judge.scoring.replies import ReplyRecorder

_DEFERRED_POLL_S = 0.5
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

    async def run(self, pending: Iterable[tuple[str, PlannedRequest]]) -> None:
        """Ask all pending requests, `concurrency` at a time. What is in flight when it must stop is still collected.

        Raises: BudgetError, IncompleteError or InputError, after everything in flight has been committed.
        """
        queue = iter(pending)
        async with self._provider.connect(self._options):
            try:
                async with asyncio.TaskGroup() as group:
                    answered = asyncio.Event()
                    group.create_task(self._work(queue, answered))
                    await self._probe(answered)
                    for _ in range(self._options.concurrency - 1):
                        group.create_task(self._work(queue, answered))
                await self._await_others()
            finally:
                self._budget.retries = self._provider.retries
                with suppress(Exception):
                    self._ledger.keep_capabilities(self._provider)
        if self._stop is not None:
            raise self._stop

    async def _probe(self, answered: asyncio.Event) -> None:
        """Let the first request find out what the endpoint accepts: a refusal comes at once, an answer takes its time.

        So the others wait for its end only when something went wrong with it in its first moments.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), _PROBE_S)
        if not self._provider.clean:
            await answered.wait()

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
        waited_s = 0.0
        while self._deferred and self._stop is None:
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
        except EquilossError as error:
            self._stop = self._stop or error
            self._ledger.release(sha)
        finally:
            self._flying.discard(sha)
        self._on_settled(sha)

    async def _ask(self, sha: str, request: PlannedRequest) -> None:
        while True:
            drafts = self._ledger.drafts(sha)
            worst_usd = self._provider.worst_usd(request, drafts) if self._budget.limit_usd is not None else 0.0
            await self._budget.reserve(worst_usd)
            try:
                reply = await self._provider.ask(request, drafts)
                problem = self._recorder.take(sha, request, reply, len(drafts))
            finally:
                self._budget.release(worst_usd)
            if problem is None:
                return
