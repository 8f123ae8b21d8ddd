"""Asks an OpenAI-compatible endpoint: the official client, its retries replaced by ones that all workers share."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from equiloss.errors import IncompleteError, InputError
from equiloss.files import sha256_of
from equiloss.numerals import duration
from judge.endpoints.address import Address, words_of
from judge.endpoints.capabilities import LIMITS, Capabilities, CapabilityRecord
from judge.endpoints.payload import parse_payload
from judge.endpoints.prices import Price
from judge.endpoints.provider import (
    BatchProvider,
    ConnectionSettings,
    Draft,
    JudgeRequest,
    NoReplyError,
    RefusedError,
    Reply,
    RequestFailure,
)
from judge.endpoints.rate_limits import CircuitBreaker, RateLimiter
from judge.endpoints.refusals import Refusal, error_within, read_refusal
from judge.endpoints.reply import read_reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI, DefaultAioHttpClient

_REASONING = re.compile(r"^(o\d|gpt-5)")
_CHARACTERS_PER_TOKEN = 3.5
_ATTEMPTS = 6
_PROBE_ATTEMPTS = 4
_UNREADABLE_ATTEMPTS = 3
_MOST_WAITING_S = 900.0
_DAILY_WAITS = 3
_TOLD_WAIT_S = 5.0
_REMEMBERED = timedelta(days=30)
_ABOUT_PROMPT: Mapping[str, RequestFailure] = {
    "too-long": {"reason": "error", "detail": "the prompt is too long for the judge"},
    "filtered": {"reason": "refusal", "detail": "the endpoint's filter refuses the prompt"},
}


class RawResponse(NamedTuple):
    """A response as it came, its secrets masked."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass
class Endpoint(BatchProvider):
    """A model behind an OpenAI-compatible endpoint; limits, retries and breaker are those of all workers together."""

    name: str
    model: str
    address: Address
    price: Price | None = None
    batch_discount: float = 0.5
    capabilities: Capabilities = field(init=False)
    settled: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.base_url = self.address.url
        self.capabilities = self._known = Capabilities.guess(self.base_url)
        self._learnt = datetime.now(UTC).date().isoformat()
        self._own: Mapping[str, object] = {}
        self._random = random.Random()  # jitter only; it decides no result

    def request_sha(self, request: JudgeRequest) -> str:
        """The key of what is asked of whom; the form that a server accepts is no part of it."""
        return sha256_of(
            {
                "messages": request.prompt.messages,
                "model": self.model,
                "base_url": self.base_url,
                "parameters": request.parameters,
                "rubric_sha": request.rubric.sha,
                "repeat": request.repeat,
            }
        )

    def limit_tokens(self, request: JudgeRequest) -> float:
        """The reply's limit, and room to think for a model that does; of several replies (`n`), of all together."""
        limit: object = self._usual_limit(request)
        for name in LIMITS:
            limit = request.parameters.get(name, limit)
        if not isinstance(limit, int | float) or self.capabilities.limit in self.capabilities.dropped:
            return math.inf
        n = request.parameters.get("n", 1)
        return limit * (n if isinstance(n, int) else 1)

    @property
    def capability_record(self) -> CapabilityRecord:
        """What was found out about the endpoint."""
        known = self.capabilities
        return {**known.form, "settled": self.settled, "notes": list(known.notes), "learnt": self._learnt}

    @property
    def losses(self) -> list[str]:
        """What its requests must do without, in words."""
        return self.capabilities.losses

    @property
    def news(self) -> list[str]:
        """What was found out about the endpoint in this run, each with the refusal that showed it."""
        return [note for note in self.capabilities.notes if note not in self._known.notes]

    def recall(self, record: CapabilityRecord | None) -> None:
        """Begin with the form that an earlier run found; whether it still holds, the first answer shows.

        What is older than a month is forgotten: servers learn, too.
        """
        learnt = record.get("learnt", "2000-01-01") if record is not None else ""
        if record is not None and datetime.now(UTC).date() - date.fromisoformat(learnt) < _REMEMBERED:
            self.capabilities = self._known = Capabilities.of(record)
            self._learnt = learnt

    def body(self, request: JudgeRequest, drafts: Sequence[Draft] = ()) -> dict[str, object]:
        """The body of a chat completion in the form that the endpoint accepts."""
        return self._body(self.capabilities, request, drafts)

    def _body(self, form: Capabilities, request: JudgeRequest, drafts: Sequence[Draft]) -> dict[str, object]:
        messages, schema = request.messages(drafts), request.rubric.schema(request.labels)
        return form.body(self.model, messages, schema, request.parameters, self._usual_limit(request))

    def _usual_limit(self, request: JudgeRequest) -> int:
        return request.reply_limit_tokens + (8192 if _REASONING.match(self.model) else 0)

    def read_batched(self, status: int, body: str) -> Reply:
        """The reply in a batch's result, or the failure that its refusal of one prompt is.

        Raises: ValueError when it is neither.
        """
        if status == 200:
            return read_reply(parse_payload(body), {**self.capabilities.form, "batch": True})
        refusal = read_refusal(status, {}, body)
        if (failure := _ABOUT_PROMPT.get(refusal.kind)) is None:
            raise ValueError(refusal.words)
        return self._failed(failure, refusal)

    def client(self, timeout_s: float, transport: DefaultAioHttpClient | None = None) -> AsyncOpenAI:
        """The official client of the endpoint; with a transport, whose limits are ours, it does not retry by itself.

        Raises: InputError for a key that no header can carry.
        """
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            base_url=self.base_url,
            api_key="none",  # the header below counts
            default_headers=self.address.headers,
            default_query=dict(self.address.query),
            max_retries=0 if transport else 2,
            timeout=timeout_s,
            http_client=transport,
        )

    @asynccontextmanager
    async def connect(self, settings: ConnectionSettings) -> AsyncGenerator[None]:
        """While it is open, several workers may `ask`. Raises: InputError for a key that no header can carry."""
        from httpx2 import Limits, Timeout
        from openai import DefaultAioHttpClient

        self.retries, self.clean, self._own = 0, True, settings.parameters
        self._timeout_s, concurrency = settings.timeout_s, settings.concurrency
        self._limiter = RateLimiter(settings.requests_per_minute, settings.tokens_per_minute)
        self._breaker = CircuitBreaker(max(10, 2 * concurrency))
        transport = DefaultAioHttpClient(
            timeout=Timeout(self._timeout_s, connect=min(20.0, self._timeout_s)),
            limits=Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )
        self._client = self.client(self._timeout_s, transport)
        async with self._client:
            yield

    async def ask(self, request: JudgeRequest, drafts: Sequence[Draft] = ()) -> Reply:
        """Ask until there is an answer.

        Raises: as `judge.endpoints.provider.Provider.ask` says.
        """
        characters = sum(len(message["content"]) for message in request.messages(drafts))
        tokens = round(characters / _CHARACTERS_PER_TOKEN) + request.reply_limit_tokens
        form = self.capabilities
        attempt = waits = errors_500 = unreadable = 0
        waited_s = 0.0
        while True:
            await self._limiter.wait(tokens)
            body = self._body(form, request, drafts)
            response, problem = await self._post(body)
            self.clean = self.clean and response is not None and response.status == 200
            if response is not None:
                self._limiter.learn(response.headers)
                outcome = self._read(response, form, body)
                if isinstance(outcome, Reply):
                    self._breaker.success()
                    if not self.settled and outcome.failure is None:
                        self._adopt(form)
                    return outcome
                if isinstance(outcome, str):
                    problem, unreadable = outcome, unreadable + 1
                    if self.settled and unreadable == _UNREADABLE_ATTEMPTS:
                        failure: RequestFailure = {"reason": "unparsable", "detail": problem}
                        return Reply(response.text, "", failure=failure, has_usage=False, sent=form.form)
                elif outcome.kind == "wait":
                    waits += 1
                    waited_s += self._pause(outcome, waits, waited_s)
                    continue
                elif (failed := self._refuse(outcome, form)) is not None:
                    return failed
                elif outcome.kind in ("form", "forbidden"):
                    form = self._next_form(outcome, form, body)
                    continue
                elif self.settled and form != self.capabilities:  # found meanwhile, by another worker
                    form = self.capabilities
                    continue
                else:
                    problem = outcome.words
                    errors_500 += outcome.status == 500
                    if errors_500 >= 3 and not self.settled and (simpler := form.simpler(problem)):
                        form, errors_500, attempt = simpler, 0, 0
                        continue
            attempt += 1
            self.retries += 1
            if self.settled or not errors_500:  # before that, 500 may be a refusal of the form
                self._breaker.failure(problem)
            if attempt >= (_ATTEMPTS if self.settled else _PROBE_ATTEMPTS):
                if self.settled:
                    raise NoReplyError(problem)
                raise self._limiter.stop(
                    IncompleteError(
                        f"cannot reach the judge at {self.base_url} ({problem})",
                        "start it or check the URL; the same command goes on",
                    )
                )
            await self._limiter.sleep(self._random.uniform(0.5, 1.0) * min(20.0, 0.25 * 2**attempt))

    async def _post(self, body: dict[str, object]) -> tuple[RawResponse | None, str]:
        """The response, of whatever status, or None and what went wrong on the way."""
        import httpx2
        from aiohttp import ClientError
        from openai import APIConnectionError, APIStatusError

        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            async with asyncio.timeout(self._timeout_s):  # of the whole answer: one that drips has a deadline too
                response = await self._client.post(
                    "/chat/completions",
                    content=content,
                    cast_to=httpx2.Response,
                    options={"headers": {"Content-Type": "application/json"}},
                )
        except APIStatusError as error:
            response = error.response
        except TimeoutError:
            return None, "no answer in time"
        except (APIConnectionError, httpx2.RequestError, ClientError, OSError) as error:
            return None, self.address.masked(words_of(error.__cause__ or error))
        try:
            text = response.content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = response.text  # in the character set that it names
        return RawResponse(response.status_code, response.headers, self.address.masked(text)), ""

    def _read(self, response: RawResponse, form: Capabilities, body: Mapping[str, object]) -> Reply | Refusal | str:
        """The reply or the refusal in a response; what is wrong with it, in words, where it is neither."""
        if response.status != 200:
            return read_refusal(response.status, response.headers, response.text)
        try:
            document = parse_payload(response.text)
            limit = body.get(form.limit)
            refusal = error_within(document, response.headers)
            return refusal or read_reply(document, form.form, limit if isinstance(limit, int | float) else None)
        except Exception as error:  # a server may send anything at all; nothing of it ends a run
            return f"an answer that is not the API's: {words_of(error)}"

    def _adopt(self, form: Capabilities) -> None:
        """The first answer: this form works, and whatever was refused on the way to it is learnt."""
        self.settled = True
        if form != self.capabilities:
            self._learnt = datetime.now(UTC).date().isoformat()
        self.capabilities = form

    def _pause(self, refusal: Refusal, waits: int, waited_s: float) -> float:
        """Make all workers wait as a server asks, or longer each time; returns for how many seconds.

        Raises: IncompleteError, for all workers, when that would be too long.
        """
        wait_s = refusal.wait_s or min(60.0, 0.5 * 2.0 ** min(waits, 7))
        self.retries += 1
        if waited_s + wait_s > _MOST_WAITING_S or waits > 100 or (refusal.is_daily and waits > _DAILY_WAITS):
            asked = f"asks to wait {duration(wait_s)}" if refusal.wait_s else "keeps refusing"
            raise self._limiter.stop(
                IncompleteError(f"the judge {asked} ({refusal.words})", "lower --rpm, or run the same command later")
            )
        self._limiter.pause(wait_s)
        if wait_s >= _TOLD_WAIT_S:
            self.tell(f"{self.name}: waiting {duration(wait_s)} ({refusal.words})")
        return wait_s

    def _refuse(self, refusal: Refusal, form: Capabilities) -> Reply | None:
        """What a refusal ends: the request, whose failure it is, or the run. None where another try may help."""
        where, kind = f"{self.model} at {self.base_url}", refusal.kind
        if kind == "credit":
            raise self._limiter.stop(
                IncompleteError(
                    f"the account has no credit left ({refusal.words})", "top it up; the same command goes on from here"
                )
            )
        if kind == "key":
            raise InputError(f"{where} refuses the key ({refusal.words})", "set OPENAI_API_KEY, or JUDGE_API_KEY")
        if kind == "missing":
            raise InputError(f"{where} was not found ({refusal.words})", "check the model's name and the URL")
        if kind in _ABOUT_PROMPT:
            self._breaker.success()
            return self._failed(_ABOUT_PROMPT[kind], refusal)
        if kind in ("form", "forbidden") and self.settled and form == self.capabilities:
            self._breaker.failure(refusal.words)  # this form works for others, so that it is about the prompt
            return self._failed({"reason": "error", "detail": "the endpoint refuses this request"}, refusal)
        return None

    def _next_form(self, refusal: Refusal, form: Capabilities, body: Mapping[str, object]) -> Capabilities:
        """The form to try after a refusal: the one that has worked meanwhile, else the next.

        Raises: RefusedError when there is none; InputError for a parameter that the user gave.
        """
        if self.settled:
            return self.capabilities
        following = form.after(refusal, body, self._own) if refusal.kind == "form" else None
        if following is not None:
            return following
        if (name := form.refused(refusal, body)) is not None and name in self._own:
            raise InputError(
                f"{self.model} at {self.base_url} refuses --param {name}={self._own[name]} ({refusal.words})",
                "leave it out, or give another value",
            )
        raise RefusedError(f"{self.model} at {self.base_url} refuses the request ({refusal.words})")

    def _failed(self, failure: RequestFailure, refusal: Refusal) -> Reply:
        detail: RequestFailure = {**failure, "detail": f"{failure['detail']}: {refusal.words}"}
        return Reply("", "", failure=detail, sent=self.capabilities.form)
