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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from equiloss.errors import BudgetError, IncompleteError
from judge.endpoints.capabilities import Profile
from judge.endpoints.client import Judge, api_key, read_reply
from judge.endpoints.prices import Price
from judge.rubrics import Rubric
from judge.scoring.budget import Spent, worst_usd
from judge.scoring.executor import Settings, judge_reply, messages_again
from judge.scoring.ledger import Ledger
from judge.scoring.plan import Ask, reply_limit_tokens

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
MOST_FRUITLESS = 3
_DONE = {"completed", "expired", "cancelled", "failed"}


@dataclass
class Line:
    """One request of a batch file: its key, and the line itself."""

    sha: str
    text: bytes


class BatchRun:
    """Gets a plan's missing replies through batches."""

    def __init__(
        self,
        judge: Judge,
        rubric: Rubric,
        ledger: Ledger,
        settings: Settings,
        price: Price | None,
        discount: float,
        spent: Spent,
        say: Callable[[str], None],
        most_requests: int = MOST_REQUESTS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._judge, self._rubric, self._ledger, self._settings = judge, rubric, ledger, settings
        self._price, self._discount, self._spent, self._say = price, discount, spent, say
        self._most_requests, self._most_bytes = most_requests, most_bytes
        self._profile = Profile.of(ledger.profile(judge.base_url, judge.model), judge.base_url)
        self._problems: list[str] = []

    def run(self, asks: Callable[[], Iterable[tuple[str, Ask]]], paid_usd: float, poll_s: float) -> None:
        """Submit, wait and collect until every request is settled. `asks` gives the plan's requests anew each time.

        Raises: BudgetError when the next batch does not fit the budget; IncompleteError when requests keep failing or
        the endpoint has no Batch API. Submitted batches stay known and are collected by the next run.
        """
        asyncio.run(self._run(asks, paid_usd, poll_s))

    async def _run(self, asks: Callable[[], Iterable[tuple[str, Ask]]], paid_usd: float, poll_s: float) -> None:
        from openai import APIConnectionError, APIStatusError, AsyncOpenAI

        timeout = max(60.0, self._settings.timeout_s)
        try:
            async with AsyncOpenAI(base_url=self._judge.base_url, api_key=api_key(), timeout=timeout) as client:
                fruitless, first = 0, True
                while fruitless < MOST_FRUITLESS:
                    replies = self._spent.replies
                    await self._collect_all(client, asks, poll_s)
                    fruitless = fruitless + 1 if not first and self._spent.replies == replies else 0
                    retry = first and self._settings.retry_failures
                    submitted = await self._submit(client, asks, paid_usd + (self._spent.cost_usd or 0.0), retry)
                    if not submitted:
                        return
                    self._spent.retries += 0 if first else submitted
                    first = False
        except APIStatusError as error:
            raise IncompleteError(
                f"{self._judge.base_url} refuses a batch (HTTP {error.status_code}): {error.message}",
                "leave --batch out; what was collected is kept",
            ) from None
        except APIConnectionError as error:
            raise IncompleteError(
                f"cannot reach the judge at {self._judge.base_url} ({error.__cause__ or error})",
                "submitted batches are known: the same command collects them",
            ) from None
        if any(not self._ledger.is_settled(sha) for sha, _ in asks()):
            why = f" ({self._problems[-1]})" if self._problems else ""
            raise IncompleteError(
                f"{MOST_FRUITLESS} batches in a row brought nothing{why}", "the same command submits them again"
            )

    async def _submit(
        self,
        client: AsyncOpenAI,
        asks: Callable[[], Iterable[tuple[str, Ask]]],
        paid_usd: float,
        retry_failures: bool,
    ) -> int:
        """Submit what is neither settled nor waiting; returns how many requests that were."""
        count = 0
        for lines in split(self._lines(asks(), retry_failures), self._most_requests, self._most_bytes):
            worst = sum(self._worst_usd(line) for line in lines)
            limit = self._settings.max_usd
            if limit is not None and paid_usd + worst > limit:
                raise BudgetError(
                    f"stopped at the budget: ${paid_usd:.4f} of ${limit:g} spent or submitted, and the next batch of "
                    f"{len(lines):,} requests may cost ${worst:.4f}",
                    "the same command with a larger --max-usd goes on from here",
                )
            paid_usd += worst
            await self._send(client, lines)
            count += len(lines)
        return count

    async def _send(self, client: AsyncOpenAI, lines: list[Line]) -> None:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "batch.jsonl"
            with path.open("wb") as f:
                f.writelines(line.text for line in lines)
            uploaded = await client.files.create(file=path, purpose="batch")
        # Known before it is a batch: a process that dies between the two calls finds it again by its file.
        self._ledger.keep_batch(uploaded.id, self._judge.base_url, self._judge.model, [line.sha for line in lines])
        batch = await client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        self._ledger.submitted(uploaded.id, batch.id)
        self._say(f"submitted batch {batch.id} of {len(lines):,} requests")

    async def _collect_all(
        self, client: AsyncOpenAI, asks: Callable[[], Iterable[tuple[str, Ask]]], poll_s: float
    ) -> None:
        """Wait for the batches that are out, and take in what they brought."""
        where = (self._judge.base_url, self._judge.model)
        if uploaded := set(self._ledger.batches(*where, "uploaded")):
            async for batch in client.batches.list(limit=100):
                if batch.input_file_id in uploaded:
                    self._ledger.submitted(batch.input_file_id, batch.id)
                    uploaded.discard(batch.input_file_id)
                if not uploaded:
                    break
            for file in uploaded:
                self._ledger.close_batch(file, "abandoned")
        waiting = self._ledger.batches(*where, "submitted")
        while waiting:
            for id in list(waiting):
                batch = await client.batches.retrieve(id)
                if batch.status not in _DONE:
                    continue
                for file in (batch.output_file_id, batch.error_file_id):
                    if file:
                        await self._take(client, file, asks)
                if batch.status == "failed":
                    errors: Any = batch.errors
                    self._problems.append(f"batch {id} failed: {errors.data[0].message if errors else 'no reason'}")
                self._ledger.close_batch(id, batch.status)
                waiting.remove(id)
                self._say(f"batch {id} is {batch.status}")
            if waiting:
                await asyncio.sleep(poll_s)

    async def _take(self, client: AsyncOpenAI, file: str, asks: Callable[[], Iterable[tuple[str, Ask]]]) -> None:
        """Take in a result file: results come in any order and are joined by `custom_id`."""
        content = await client.files.content(file)
        results: dict[str, dict[str, Any]] = {}
        for raw in content.content.splitlines():
            if raw.strip():
                row = cast("dict[str, Any]", json.loads(raw))
                results[str(row["custom_id"])] = row
        for sha, ask in asks():
            if sha in results and self._ledger.in_batch(sha):
                self._take_one(sha, ask, results.pop(sha))

    def _take_one(self, sha: str, ask: Ask, row: dict[str, Any]) -> None:
        response = cast("dict[str, Any]", row.get("response") or {})
        if response.get("status_code") != 200:
            body = cast("dict[str, Any]", response.get("body") or {})
            error = cast("dict[str, Any]", row.get("error") or body.get("error") or {})
            self._problems.append(str(error.get("message") or error.get("code") or "no reason given"))
            return
        try:
            reply = read_reply(json.dumps(response["body"]).encode(), {**self._profile.sent, "batch": True})
        except ValueError as error:
            self._problems.append(str(error))
            return
        prompt = ask.prompt(self._rubric)
        drafts = self._ledger.drafts(sha)
        verdict, failure, problem = judge_reply(self._rubric, prompt, reply, asked_before=len(drafts))
        about = {
            "judge": self._judge.name,
            "base_url": self._judge.base_url,
            "rubric": self._rubric.name,
            "item": ask.item.id,
            "repeat": ask.repeat,
        }
        cost = self._spent.count(reply, self._price, self._discount)
        self._ledger.record(sha, reply, cost, about, verdict=verdict, failure=failure, problem=problem)
        self._spent.reasked += problem is not None

    def _lines(self, asks: Iterable[tuple[str, Ask]], retry_failures: bool) -> Iterator[Line]:
        seen: set[str] = set()
        for sha, ask in asks:
            if sha in seen or self._ledger.is_settled(sha, retry_failures) or self._ledger.in_batch(sha):
                continue
            seen.add(sha)
            prompt = ask.prompt(self._rubric)
            drafts = self._ledger.drafts(sha)
            body = self._profile.body(
                self._judge.model,
                messages_again(prompt, *drafts[-1]) if drafts else prompt.messages,
                self._rubric.schema(prompt.labels),
                self._settings.parameters,
                reply_limit_tokens(self._rubric, len(ask.slots)) + self._judge.reasoning_tokens,
            )
            row = {"custom_id": sha, "method": "POST", "url": "/v1/chat/completions", "body": body}
            yield Line(sha, json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def _worst_usd(self, line: Line) -> float:
        body: dict[str, Any] = json.loads(line.text)["body"]
        limit = int(body.get(self._profile.limit) or 0)
        return self._discount * worst_usd(body["messages"], limit, self._price)


def split(lines: Iterable[Line], most_requests: int, most_bytes: int) -> Iterator[list[Line]]:
    """Divide requests into files within the API's limits, in order."""
    held: list[Line] = []
    size = 0
    for line in lines:
        if held and (len(held) >= most_requests or size + len(line.text) > most_bytes):
            yield held
            held, size = [], 0
        held.append(line)
        size += len(line.text)
    if held:
        yield held
