"""Asks an OpenAI-compatible endpoint: the official client, its retries replaced by ones that all workers share."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from equiloss.errors import IncompleteError, InputError
from judge.endpoints import offline
from judge.endpoints.capabilities import Profile
from judge.endpoints.provider import Reply
from judge.endpoints.rate_limits import Breaker, Gate, retry_after_s

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

OPENAI_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-4.1-mini"
UNKNOWN_MODEL = "unknown"
_JUDGE = re.compile(r"^(?P<model>[^\s]+?)@(?P<url>https?://.+)$")
_REASONING = re.compile(r"^(o\d|gpt-5)")
_ATTEMPTS = 6
_PROBE_ATTEMPTS = 4
_MOST_WAITING_S = 900.0


@dataclass(frozen=True)
class Judge:
    """A judge as asked for: a model, and the URL of its endpoint (empty for the offline reference judge)."""

    name: str
    model: str
    base_url: str

    @property
    def is_offline(self) -> bool:
        """Whether this is the offline reference judge."""
        return self.model == offline.NAME

    @property
    def reasoning_tokens(self) -> int:
        """What a model that thinks before it answers is allowed on top of the reply's limit."""
        return 8192 if _REASONING.match(self.model) else 0


def parse_judge(text: str | None, *, to_ask: bool = True) -> Judge:
    """A judge from `MODEL`, `MODEL@URL`, or nothing: the environment's endpoint, else the offline reference judge.

    With `to_ask` off (a dry run), neither a key nor an endpoint that answers is needed.
    Raises: InputError for a URL that is none, or a model without any endpoint.
    """
    url = (os.environ.get("OPENAI_BASE_URL") or "").rstrip("/")
    has_endpoint = bool(url or os.environ.get("OPENAI_API_KEY"))
    if text is None:
        if not has_endpoint:
            return Judge(offline.NAME, offline.NAME, "")
        try:
            text = DEFAULT_MODEL if not url or "api.openai.com" in url else only_model(url)
        except IncompleteError:
            if to_ask:
                raise
            text = UNKNOWN_MODEL
    if text == offline.NAME:
        return Judge(offline.NAME, offline.NAME, "")
    if found := _JUDGE.match(text):
        clean = re.sub(r"//[^/@]*@", "//", found["url"].rstrip("/"))  # a password never reaches a file
        return Judge(f"{found['model']}@{clean}", found["model"], clean)
    if "@http" in text or not text.strip() or any(one.isspace() for one in text):
        raise InputError(f"--judge {text!r} is not MODEL or MODEL@URL", "e.g. --judge qwen@http://127.0.0.1:8080/v1")
    if not has_endpoint and to_ask:
        raise InputError(
            f"no endpoint for the judge {text!r}", "set OPENAI_API_KEY or OPENAI_BASE_URL, or name MODEL@URL"
        )
    return Judge(text, text, url or OPENAI_URL)


def only_model(url: str) -> str:
    """The model that a server offers, if it is one.

    Raises: InputError when it offers none or several; IncompleteError when it cannot be reached.
    """
    import httpx2

    headers = {"Authorization": f"Bearer {api_key()}"}
    try:
        answer = httpx2.get(f"{url}/models", timeout=10, headers=headers)
        rows = cast("list[dict[str, Any]]", answer.json()["data"])
    except httpx2.TransportError as error:
        raise IncompleteError(
            f"cannot reach the judge at {url} ({_words(error)})", "start it, or check the URL"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{url} does not say which models it has", "name one with --judge MODEL") from None
    names = [str(row.get("id")) for row in rows]
    if len(names) != 1:
        raise InputError(f"{url} offers {len(names)} models ({', '.join(names[:6])})", "choose with --judge MODEL")
    return names[0]


class Lost(Exception):
    """A request that got no answer after all retries, while the endpoint answers others. The message says why."""


class Client:
    """One judge's endpoint. `ask` returns what it replied, whatever it took; use it as an async context manager."""

    def __init__(self, judge: Judge, profile: Profile, gate: Gate, concurrency: int, timeout_s: float = 300.0) -> None:
        from httpx2 import Limits, Timeout
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self.judge, self.profile = judge, profile
        self.retries = 0
        self.clean = True  # nothing has gone wrong so far
        self._timeout_s = timeout_s
        self._gate = gate
        self._breaker = Breaker(max(10, 2 * concurrency))
        self._random = random.Random()  # jitter only; it decides no result
        transport = DefaultAioHttpClient(
            timeout=Timeout(timeout_s, connect=min(20.0, timeout_s)),
            limits=Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )
        self._client: AsyncOpenAI = AsyncOpenAI(
            base_url=judge.base_url, api_key=api_key(), max_retries=0, http_client=transport
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(
        self,
        messages: list[dict[str, str]],
        schema: dict[str, Any],
        parameters: dict[str, Any],
        limit_tokens: int,
        tokens: int,
    ) -> Reply:
        """Ask until there is an answer. `tokens` is about what it takes, for the limit on tokens per minute.

        Raises: Lost after the last retry; IncompleteError when the endpoint is down; InputError when it refuses the
        key, the model or the request.
        """
        attempt, refused_s, errors_500 = 0, 0.0, 0
        while True:
            await self._gate.wait(tokens)
            body = self.profile.body(
                self.judge.model, messages, schema, parameters, limit_tokens + self.judge.reasoning_tokens
            )
            wait_s: float | None = None
            try:
                response = await self._post(body)
            except Exception as error:
                self.clean = False
                what = _transport_problem(error)
                if what is None:
                    raise
            else:
                status = response.status_code
                self.clean = self.clean and status == 200
                self._gate.learn(response.headers)
                if status == 200:
                    try:
                        reply = read_reply(response.content, self.profile.sent)
                    except ValueError as error:
                        what = f"an answer that is not the API's: {error}"
                    else:
                        self._breaker.success()
                        self.profile.settled = True
                        return reply
                else:
                    message, param, code = _problem(response)
                    if status == 429:
                        self._refuse_quota(code, message)
                        wait_s = retry_after_s(response.headers)
                        wait_s = min(60.0, 2.0 ** min(attempt, 5)) if wait_s is None else wait_s
                        refused_s += wait_s
                        self._gate.pause(wait_s)
                        self.retries += 1
                        attempt += wait_s == 0
                        if refused_s > _MOST_WAITING_S or attempt > 100:
                            raise IncompleteError(
                                "the judge keeps refusing (429 too many requests)", "lower --rpm or try again later"
                            )
                        continue
                    if self.profile.adapt(status, message, param, body):
                        continue
                    self._refuse(status, message, code)
                    what = f"HTTP {status} {message}".strip()
                    errors_500 += status == 500
                    if errors_500 >= 3 and not self.profile.settled and self.profile.leave_mode(body, what):
                        errors_500 = attempt = 0
                        continue
            attempt += 1
            self.retries += 1
            most = _ATTEMPTS if self.profile.settled else _PROBE_ATTEMPTS
            if self.profile.settled or not errors_500:  # before that, 500 may be a refusal of the form
                self._breaker.failure(what)
            if attempt >= most:
                if not self.profile.settled:
                    raise IncompleteError(
                        f"cannot reach the judge at {self.judge.base_url} ({what})",
                        "start it or check the URL; the same command goes on",
                    )
                raise Lost(what)
            await asyncio.sleep(self._random.uniform(0.5, 1.0) * min(20.0, 0.25 * 2**attempt))

    async def _post(self, body: dict[str, Any]) -> httpx2.Response:
        import httpx2
        from openai import APIStatusError

        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            async with asyncio.timeout(self._timeout_s):  # of the whole answer: one that drips has a deadline too
                return await self._client.post(
                    "/chat/completions",
                    content=content,
                    cast_to=httpx2.Response,
                    options={"headers": {"Content-Type": "application/json"}},
                )
        except APIStatusError as error:
            return error.response

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Errors that no retry mends."""
        where = f"{self.judge.model} at {self.judge.base_url}"
        if status in (401, 403):
            raise InputError(f"{where} refuses the key (HTTP {status}): {message}", "set OPENAI_API_KEY")
        if status == 404:
            raise InputError(f"{where} was not found (HTTP 404): {message}", "check the model's name and the URL")
        if status in (400, 405, 422) and not self.profile.settled:
            raise InputError(f"{where} refuses the request (HTTP {status} {code}): {message}", "see docs/judges.md")
        if 400 <= status < 500 and status not in (408, 409, 425):
            raise Lost(f"HTTP {status} {message}")

    def _refuse_quota(self, code: str, message: str) -> None:
        if code in ("insufficient_quota", "billing_hard_limit_reached"):
            raise IncompleteError(f"the account has no credit left: {message}", "the same command goes on from here")


def read_reply(content: bytes, sent: dict[str, Any]) -> Reply:
    """A chat completion's reply.

    Raises: ValueError when the body is not one.
    """
    document: Any = json.loads(content)
    try:
        choice: dict[str, Any] = document["choices"][0]
        message: dict[str, Any] = choice["message"]
        usage: dict[str, Any] = document.get("usage") or {}
        details: dict[str, Any] = usage.get("prompt_tokens_details") or {}
        logprobs: dict[str, Any] = choice.get("logprobs") or {}
        return Reply(
            text=str(message.get("content") or ""),
            resolved=str(document.get("model") or ""),
            finish_reason=choice.get("finish_reason"),
            refusal=message.get("refusal") or None,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
            cached_tokens=int(details.get("cached_tokens") or 0),
            sent=sent,
            logprobs=logprobs.get("content") or None,
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"no {error} in it" if isinstance(error, KeyError) else "it holds no message") from None


def _problem(response: httpx2.Response) -> tuple[str, str | None, str]:
    """Message, parameter and code of an error response, in any of the layouts that servers use."""
    try:
        document: Any = json.loads(response.content)
    except ValueError:
        return response.text[:200], None, ""
    error: Any = cast("dict[str, Any]", document).get("error", document) if isinstance(document, dict) else document
    if not isinstance(error, dict):
        return str(error)[:300], None, ""
    fields = cast("dict[str, Any]", error)
    message = fields.get("message") or fields.get("detail") or ""
    param = fields.get("param")
    return str(message)[:300], str(param) if param else None, str(fields.get("code") or fields.get("type") or "")


def _transport_problem(error: Exception) -> str | None:
    """Words for an error on the way; None when it is not one."""
    import httpx2
    from aiohttp import ClientError
    from openai import APIConnectionError

    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, APIConnectionError | httpx2.TransportError | ClientError | OSError):
        return _words(error.__cause__ or error)
    return None


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:160]


def api_key() -> str:
    """The key for a judge, from the environment; servers that want none get the word "none"."""
    return os.environ.get("JUDGE_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
