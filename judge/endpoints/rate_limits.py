"""Limits that all workers share: requests and tokens per minute, pauses that the server asks for, and a breaker."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime

from aiolimiter import AsyncLimiter

from equiloss.errors import IncompleteError

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|d|h|m|s)", re.IGNORECASE)
_RESET = re.compile(r'X-RateLimit-Reset"?: ?"?(\d{10,13})', re.IGNORECASE)
_STATED = re.compile(
    r'(?:retryDelay"?: ?"?|(?:retry|try again|wait)(?: in| after| for)? )((?:\d+(?:\.\d+)? ?(?:ms|d|h|m|s)[a-z]*\s*)+)',
    re.IGNORECASE,
)
_POLL_S = 0.05
_A_TIME = 1e9  # a larger number of seconds is a time, not a wait
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_WAITS = {"retry-after-ms": 0.001, "retry-after": 1.0, "ratelimit-reset": 1.0, "x-ratelimit-reset": 1.0}


class RateLimiter:
    """Lets a request pass when the limits allow it. Limits not given are learnt from the response headers."""

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> None:
        self._given = (requests_per_minute is not None, tokens_per_minute is not None)
        self._requests = _limiter(requests_per_minute)
        self._tokens = _limiter(tokens_per_minute)
        self._resume_at = 0.0
        self._stopped = asyncio.Event()
        self._error: IncompleteError | None = None

    async def wait(self, tokens: int) -> None:
        """Wait until a request of about so many tokens may go. Raises: IncompleteError when no request may any more."""
        while (pause := self._resume_at - time.monotonic()) > 0:
            await self.sleep(pause)
        for limiter, amount in ((self._requests, 1.0), (self._tokens, float(tokens))):
            if limiter is not None:
                amount = min(amount, limiter.max_rate)
                while not limiter.has_capacity(amount):
                    await self.sleep(_POLL_S)
                await limiter.acquire(amount)
        await self.sleep(0)

    def pause(self, seconds: float) -> None:
        """Make all workers wait: the server said so."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    def stop(self, error: IncompleteError) -> IncompleteError:
        """End all waiting, of every worker: no request will go any more. Returns the error, to be raised."""
        self._error = self._error or error
        self._stopped.set()
        return error

    async def sleep(self, seconds: float) -> None:
        """Sleep, unless all is stopped. Raises: IncompleteError when it is."""
        with suppress(TimeoutError):
            if seconds > 0 and not self._stopped.is_set():
                await asyncio.wait_for(self._stopped.wait(), seconds)
        if self._error is not None:
            raise self._error

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take limits from `x-ratelimit-*` headers, and pause when nothing remains until the reset."""
        if "x-ratelimit-limit-requests" not in headers and "x-ratelimit-limit-tokens" not in headers:
            return
        if not self._given[0]:
            self._requests = _adjusted(self._requests, headers.get("x-ratelimit-limit-requests"))
        if not self._given[1]:
            self._tokens = _adjusted(self._tokens, headers.get("x-ratelimit-limit-tokens"))
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                seconds = duration_s(headers.get(f"x-ratelimit-reset-{kind}", ""))
                self._resume_at = max(self._resume_at, time.monotonic() + min(seconds, 60.0))


class CircuitBreaker:
    """Stops a run when an endpoint is down: so many failures in a row, of all workers, without one success."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._failures = 0

    def success(self) -> None:
        """An answer came."""
        self._failures = 0

    def failure(self, what: str) -> None:
        """No answer came.

        Raises: IncompleteError when that was one too many.
        """
        self._failures += 1
        if self._failures >= self._threshold:
            raise IncompleteError(
                f"the judge does not answer ({what}; {self._failures} times in a row)",
                "nothing is lost: the same command goes on from here",
            )


def stated_wait_s(headers: Mapping[str, str], text: str = "") -> float | None:
    """How long a server asks to wait: in its headers (seconds, a duration, a date or time), else in its words; or None.

    A wait that is over already, or none at all ("0"), is no answer: None, so that pauses grow by themselves.
    """
    for name, factor in _WAITS.items():
        if value := headers.get(name, "").strip():
            try:
                seconds = float(value.split(",")[0])
            except ValueError:
                seconds = _until(value)
            else:
                seconds = _from_now(seconds) if seconds > _A_TIME else seconds * factor
            return seconds if 0 < seconds < math.inf else None
    if reset := _RESET.search(text):
        return max(0.0, _from_now(float(reset[1]))) or None
    stated = _STATED.search(text)
    return (duration_s(stated[1]) or None) if stated else None


def _from_now(moment: float) -> float:
    """Seconds until a moment since 1970, in seconds or milliseconds."""
    return (moment / 1000 if moment > 100 * _A_TIME else moment) - time.time()


def _until(text: str) -> float:
    """Seconds until a date, as HTTP or ISO 8601 writes it, or of a duration; 0 when it is none of them."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, IndexError, TypeError):
            return read(text).timestamp() - time.time()
    return duration_s(text)


def duration_s(text: str) -> float:
    """A duration as servers write it ("1s", "6m0s", "350ms", "26 seconds"), in seconds; 0 when it cannot be read."""
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in _DURATION.findall(text))


def _limiter(per_minute: float | None) -> AsyncLimiter | None:
    return AsyncLimiter(per_minute, 60) if per_minute else None


def _adjusted(limiter: AsyncLimiter | None, header: str | None) -> AsyncLimiter | None:
    try:
        limit = float(header) if header else 0.0
    except ValueError:
        return limiter
    if limit <= 0 or (limiter is not None and limiter.max_rate == limit):
        return limiter
    return AsyncLimiter(limit, 60)
