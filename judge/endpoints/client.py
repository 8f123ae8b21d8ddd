"""Asks an OpenAI-compatible endpoint: the official client, its retries replaced by ones that all workers share."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from equiloss.errors import IncompleteError, InputError
from equiloss.files import sha256_of
from judge.endpoints.capabilities import Capabilities, CapabilityRecord
from judge.endpoints.prices import Price
from judge.endpoints.provider import BatchProvider, ConnectionSettings, Draft, JudgeRequest, NoReplyError, Reply
from judge.endpoints.rate_limits import CircuitBreaker, RateLimiter, retry_after_s

if TYPE_CHECKING:
    import httpx2

_REASONING = re.compile(r"^(o\d|gpt-5)")
_CHARACTERS_PER_TOKEN = 3.5
_ATTEMPTS = 6
_PROBE_ATTEMPTS = 4
_MOST_WAITING_S = 900.0
_ERROR_FIELDS = (("message", "detail"), ("param", "param"), ("code", "type"))


@dataclass
class Endpoint(BatchProvider):
    """A model behind an OpenAI-compatible endpoint; limits, retries and breaker are those of all workers together."""

    name: str
    model: str
    base_url: str
    price: Price | None = None
    batch_discount: float = 0.5
    capabilities: Capabilities = field(init=False)

    def __post_init__(self) -> None:
        self.capabilities = Capabilities.guess(self.base_url)
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

    def limit_tokens(self, request: JudgeRequest) -> int:
        """The reply's limit, and room to think for a model that does."""
        return request.reply_limit_tokens + (8192 if _REASONING.match(self.model) else 0)

    @property
    def capability_record(self) -> CapabilityRecord:
        """What was found out about the endpoint."""
        return self.capabilities.record()

    def recall(self, record: CapabilityRecord | None) -> None:
        """Begin with the form that an earlier run found; whether it still holds, the first answer shows."""
        if record is not None:
            self.capabilities = Capabilities(**record)
            self.capabilities.settled = False

    def body(self, request: JudgeRequest, drafts: Sequence[Draft] = ()) -> dict[str, object]:
        """The body of a chat completion in the form that the endpoint accepts."""
        messages, schema = request.messages(drafts), request.rubric.schema(request.labels)
        return self.capabilities.body(self.model, messages, schema, request.parameters, self.limit_tokens(request))

    def read_batched(self, body: str) -> Reply:
        """The reply in the body of a batch's result.

        Raises: ValueError when it is no chat completion.
        """
        return read_reply(body, {**self.capabilities.form, "batch": True})

    @asynccontextmanager
    async def connect(self, settings: ConnectionSettings) -> AsyncGenerator[None]:
        """While it is open, several workers may `ask`."""
        from httpx2 import Limits, Timeout
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self.retries, self.clean = 0, True
        self._timeout_s, concurrency = settings.timeout_s, settings.concurrency
        self._limiter = RateLimiter(settings.requests_per_minute, settings.tokens_per_minute)
        self._breaker = CircuitBreaker(max(10, 2 * concurrency))
        transport = DefaultAioHttpClient(
            timeout=Timeout(self._timeout_s, connect=min(20.0, self._timeout_s)),
            limits=Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )
        self._client = AsyncOpenAI(base_url=self.base_url, api_key=api_key(), max_retries=0, http_client=transport)
        async with self._client:
            yield

    async def ask(self, request: JudgeRequest, drafts: Sequence[Draft] = ()) -> Reply:
        """Ask until there is an answer.

        Raises: as `judge.endpoints.provider.Provider.ask` says.
        """
        characters = sum(len(message["content"]) for message in request.messages(drafts))
        tokens = round(characters / _CHARACTERS_PER_TOKEN) + request.reply_limit_tokens
        capabilities = self.capabilities
        attempt, refused_s, errors_500 = 0, 0.0, 0
        while True:
            await self._limiter.wait(tokens)
            body, form = self.body(request, drafts), capabilities.form
            response, problem = await self._post(body)
            status = response.status_code if response is not None else 0
            self.clean = self.clean and status == 200
            if response is not None:
                self._limiter.learn(response.headers)
            if response is not None and status == 200:
                try:
                    reply = read_reply(response.content, form)
                except ValueError as error:
                    problem = f"an answer that is not the API's: {error}"
                else:
                    self._breaker.success()
                    capabilities.settled = True
                    return reply
            elif response is not None:
                message, param, code = _error_of(response)
                if status == 429:
                    wait_s = self._pause(response, attempt, code, message)
                    refused_s += wait_s
                    attempt += wait_s == 0
                    if refused_s > _MOST_WAITING_S or attempt > 100:
                        raise IncompleteError(
                            "the judge keeps refusing (429 too many requests)", "lower --rpm or try again later"
                        )
                    continue
                if capabilities.adapt(status, message, param, body, form):
                    continue
                self._refuse(status, message, code)
                problem = f"HTTP {status} {message}".strip()
                errors_500 += status == 500
                if errors_500 >= 3 and not capabilities.settled and capabilities.leave_mode(form, problem):
                    errors_500 = attempt = 0
                    continue
            attempt += 1
            self.retries += 1
            if capabilities.settled or not errors_500:  # before that, 500 may be a refusal of the form
                self._breaker.failure(problem)
            if attempt >= (_ATTEMPTS if capabilities.settled else _PROBE_ATTEMPTS):
                if capabilities.settled:
                    raise NoReplyError(problem)
                raise IncompleteError(
                    f"cannot reach the judge at {self.base_url} ({problem})",
                    "start it or check the URL; the same command goes on",
                )
            await asyncio.sleep(self._random.uniform(0.5, 1.0) * min(20.0, 0.25 * 2**attempt))

    async def _post(self, body: dict[str, object]) -> tuple[httpx2.Response | None, str]:
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
                return response, ""
        except APIStatusError as error:
            return error.response, ""
        except TimeoutError:
            return None, "no answer in time"
        except (APIConnectionError, httpx2.TransportError, ClientError, OSError) as error:
            return None, words_of(error.__cause__ or error)

    def _pause(self, response: httpx2.Response, attempt: int, code: str, message: str) -> float:
        """Make all workers wait as a 429 asks, or longer each time; returns for how many seconds."""
        if code in ("insufficient_quota", "billing_hard_limit_reached"):
            raise IncompleteError(f"the account has no credit left: {message}", "the same command goes on from here")
        wait_s = retry_after_s(response.headers)
        wait_s = min(60.0, 2.0 ** min(attempt, 5)) if wait_s is None else wait_s
        self._limiter.pause(wait_s)
        self.retries += 1
        return wait_s

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Errors that no retry mends."""
        where = f"{self.model} at {self.base_url}"
        if status in (401, 403):
            raise InputError(f"{where} refuses the key (HTTP {status}): {message}", "set OPENAI_API_KEY")
        if status == 404:
            raise InputError(f"{where} was not found (HTTP 404): {message}", "check the model's name and the URL")
        if status in (400, 405, 422) and not self.capabilities.settled:
            raise InputError(f"{where} refuses the request (HTTP {status} {code}): {message}", "see docs/judges.md")
        if 400 <= status < 500 and status not in (408, 409, 425):
            raise NoReplyError(f"HTTP {status} {message}")


def read_reply(content: bytes | str, form: Mapping[str, object]) -> Reply:
    """A chat completion's reply to a request of this form.

    Raises: ValueError when the body is not one.
    """
    document: Any = json.loads(content)
    try:
        choice = document["choices"][0]
        message, usage = choice["message"], part_of(document, "usage")
        return Reply(
            text=str(message.get("content") or ""),
            resolved=str(document.get("model") or ""),
            finish_reason=choice.get("finish_reason"),
            refusal=message.get("refusal") or None,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
            cached_tokens=int(part_of(usage, "prompt_tokens_details").get("cached_tokens") or 0),
            sent=form,
            logprobs=part_of(choice, "logprobs").get("content") or None,
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"no {error} in it" if isinstance(error, KeyError) else "it holds no message") from None


def part_of(document: Any, key: str) -> Any:
    """A part of a JSON object, an empty one where it is null or absent."""
    return document.get(key) or {}


def _error_of(response: httpx2.Response) -> tuple[str, str | None, str]:
    """Message, parameter and code of an error response, in any of the layouts that servers use."""
    try:
        document: Any = json.loads(response.content)
    except ValueError:
        return response.text[:200], None, ""
    try:
        error = document.get("error", document)
        message, param, code = (str(error.get(a) or error.get(b) or "") for a, b in _ERROR_FIELDS)
    except AttributeError:  # no object
        return str(document)[:300], None, ""
    return message[:300], param or None, code


def words_of(error: BaseException) -> str:
    """An error's message on one short line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


def api_key() -> str:
    """The key for a judge, from the environment; servers that want none get the word "none"."""
    return os.environ.get("JUDGE_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
