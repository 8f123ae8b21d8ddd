"""Limits that all workers share: requests and tokens per minute, pauses that the server asks for, and a breaker."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from aiolimiter import AsyncLimiter

from equiloss.errors import IncompleteError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class RateLimiter:
    """Lets a request pass when the limits allow it. Limits not given are learnt from the response headers."""

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> None:
        self._given = (requests_per_minute is not None, tokens_per_minute is not None)
        self._requests = _limiter(requests_per_minute)
        self._tokens = _limiter(tokens_per_minute)
        self._resume_at = 0.0
        self.pauses = 0

    async def wait(self, tokens: int) -> None:
        """Wait until a request of about so many tokens may go."""
        while (pause := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))

    def pause(self, seconds: float) -> None:
        """Make all workers wait: the server said so."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)
        self.pauses += 1

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


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long a server asks to wait, from `retry-after-ms` or `retry-after` (seconds or a date); else None."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (value := headers.get(name)) is None:
            continue
        try:
            return max(0.0, float(value) * factor)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            continue
    return None


def duration_s(text: str) -> float:
    """A duration as OpenAI's headers write it ("1s", "6m0s", "350ms"), in seconds; 0 when it cannot be read."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


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
