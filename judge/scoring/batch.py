"""OpenAI's Batch API: requests written to files, uploaded, polled and collected, resumable after days.

A batch costs half and takes up to a day. Which requests wait in which batch is in the ledger, so the command can be
broken off at any moment and run again: it collects what is done and submits only what waits nowhere. Replies go
through the same reading and the same ledger as others; what failed, expired or could not be read is submitted again.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from equiloss import console
from equiloss.errors import IncompleteError
from judge.endpoints.address import words_of
from judge.endpoints.payload import parse_payload, part_of
from judge.endpoints.provider import BatchProvider
from judge.scoring.budget import JudgingBudget
from judge.scoring.ledger import Ledger
from judge.scoring.options import ScoreRequest
from judge.scoring.plan import PlannedRequest
from judge.scoring.replies import ReplyRecorder

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
MOST_FRUITLESS = 3
_DONE = {"completed", "expired", "cancelled", "failed"}


class BatchLine(NamedTuple):
    """One request of a batch file: its key, the line itself, and the most that it can cost before the discount."""

    sha: str
    text: bytes
    worst_usd: float = 0.0


class BatchExecutor:
    """Gets a plan's missing replies through batches. `requests` gives the plan's requests anew each time."""

    def __init__(
        self,
        provider: BatchProvider,
        ledger: Ledger,
        options: ScoreRequest,
        budget: JudgingBudget,
        requests: Callable[[], Iterable[tuple[str, PlannedRequest]]],
        most_requests: int = MOST_REQUESTS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._provider, self._ledger, self._options = provider, ledger, options
        self._budget, self._requests = budget, requests
        self._most_requests, self._most_bytes = most_requests, most_bytes
        self._recorder = ReplyRecorder(provider, ledger, budget)
        self._problems: list[str] = []
        budget.discount = provider.batch_discount

    async def run(self, poll_s: float) -> None:
        """Submit, wait and collect until every request is settled.

        Raises: BudgetError when the next batch does not fit the budget; IncompleteError when requests keep failing or
        the endpoint has no Batch API. Submitted batches stay known and are collected by the next run.
        """
        from openai import APIConnectionError, APIStatusError

        url, timeout_s = self._provider.base_url, max(60.0, self._options.timeout_s)
        try:
            async with self._provider.client(timeout_s) as client:
                await self._settle_all(client, poll_s)
        except APIStatusError as error:
            raise IncompleteError(
                f"{url} refuses a batch (HTTP {error.status_code}): {self._provider.address.masked(error.message)}",
                "leave --batch out; what was collected is kept",
            ) from None
        except APIConnectionError as error:
            raise IncompleteError(
                self._provider.address.masked(
                    f"cannot reach the judge at {url} ({words_of(error.__cause__ or error)})"
                ),
                "submitted batches are known: the same command collects them",
            ) from None

    async def _settle_all(self, client: AsyncOpenAI, poll_s: float) -> None:
        fruitless = 0
        for turn in count():
            replies = self._budget.replies
            await self._collect(client, poll_s)
            fruitless = 0 if turn == 0 or self._budget.replies > replies else fruitless + 1
            if fruitless == MOST_FRUITLESS:
                why = f" ({self._problems[-1]})" if self._problems else ""
                raise IncompleteError(
                    f"{fruitless} batches in a row brought nothing{why}", "the same command submits them again"
                )
            submitted = await self._submit(client, turn == 0 and self._options.retry_failures)
            if not submitted:
                return
            self._budget.retries += submitted if turn else 0

    async def _submit(self, client: AsyncOpenAI, retry_failures: bool) -> int:
        """Submit what is neither settled nor waiting; returns how many requests that were."""
        n_requests, worst_usd = 0, 0.0
        for lines in split(self._lines(retry_failures), self._most_requests, self._most_bytes):
            worst_usd += self._budget.discount * sum(line.worst_usd for line in lines)
            self._budget.check(worst_usd, f"the next batch of {len(lines):,} requests")
            await self._send(client, lines)
            n_requests += len(lines)
        return n_requests

    async def _send(self, client: AsyncOpenAI, lines: list[BatchLine]) -> None:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "batch.jsonl"
            with path.open("wb") as f:
                f.writelines(line.text for line in lines)
            uploaded = await client.files.create(file=path, purpose="batch")
        # Known before it is a batch: a process that dies between the two calls finds it again by its file.
        self._ledger.keep_batch(uploaded.id, self._provider, [line.sha for line in lines])
        batch = await client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        self._ledger.submitted(uploaded.id, batch.id)
        console.say(f"submitted batch {batch.id} of {len(lines):,} requests")

    async def _collect(self, client: AsyncOpenAI, poll_s: float) -> None:
        """Wait for the batches that are out, and take in what they brought."""
        if uploaded := set(self._ledger.batches(self._provider, "uploaded")):
            async for batch in client.batches.list(limit=100):
                if batch.input_file_id in uploaded:
                    self._ledger.submitted(batch.input_file_id, batch.id)
                    uploaded.discard(batch.input_file_id)
                if not uploaded:
                    break
            for file in uploaded:
                self._ledger.close_batch(file, "abandoned")
        waiting = self._ledger.batches(self._provider, "submitted")
        while waiting:
            for id in list(waiting):
                batch = await client.batches.retrieve(id)
                if batch.status not in _DONE:
                    continue
                for file in (batch.output_file_id, batch.error_file_id):
                    if file:
                        await self._take_file(client, file)
                if batch.status == "failed":
                    errors = batch.errors.data if batch.errors else None
                    self._problems.append(f"batch {id} failed: {errors[0].message if errors else 'no reason'}")
                self._ledger.close_batch(id, batch.status)
                waiting.remove(id)
                console.say(f"batch {id} is {batch.status}")
            if waiting:
                await asyncio.sleep(poll_s)

    async def _take_file(self, client: AsyncOpenAI, file: str) -> None:
        """Take in a result file: results come in any order and are joined by `custom_id`."""
        content = await client.files.content(file)
        results: dict[str, Any] = {}
        for raw in content.content.splitlines():
            if raw.strip():
                row: Any = parse_payload(self._provider.address.masked(raw.decode("utf-8", "replace")))
                results[str(row["custom_id"])] = row
        for sha, request in self._requests():
            if sha in results and self._ledger.in_batch(sha):
                self._take(sha, request, results.pop(sha))

    def _take(self, sha: str, request: PlannedRequest, row: Any) -> None:
        response = part_of(row, "response")
        body = part_of(response, "body") or {"error": part_of(row, "error") or {"message": "no reason given"}}
        try:
            reply = self._provider.read_batched(int(response.get("status_code") or 500), json.dumps(body))
        except (ValueError, TypeError) as error:
            self._problems.append(str(error))
            return
        self._recorder.take(sha, request, reply, self._ledger.drafts(sha))

    def _lines(self, retry_failures: bool) -> Iterator[BatchLine]:
        seen: set[str] = set()
        for sha, request in self._requests():
            if sha in seen or self._ledger.is_settled(sha, retry_failures) or self._ledger.in_batch(sha):
                continue
            seen.add(sha)
            drafts = self._ledger.drafts(sha)
            body = self._provider.body(request, drafts)
            row = {"custom_id": sha, "method": "POST", "url": "/v1/chat/completions", "body": body}
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            yield BatchLine(sha, line, self._provider.worst_usd(request, drafts))


def split(lines: Iterable[BatchLine], most_requests: int, most_bytes: int) -> Iterator[list[BatchLine]]:
    """Divide requests into files within the API's limits, in order."""
    held: list[BatchLine] = []
    size = 0
    for line in lines:
        if held and (len(held) >= most_requests or size + len(line.text) > most_bytes):
            yield held
            held, size = [], 0
        held.append(line)
        size += len(line.text)
    if held:
        yield held
