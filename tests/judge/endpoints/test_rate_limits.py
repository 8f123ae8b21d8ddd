"""Limits hold for all workers together, are learnt from headers, and a dead endpoint stops the run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path

import pytest
from typer.testing import CliRunner

from equiloss.errors import BudgetError, IncompleteError
from judge.cli.main import program
from judge.endpoints.address import parse_address
from judge.endpoints.client import Endpoint
from judge.endpoints.prices import Price
from judge.endpoints.provider import Reply
from judge.endpoints.rate_limits import CircuitBreaker, RateLimiter, duration_s, stated_wait_s
from judge.scoring.budget import JudgingBudget
from judge.simulate.server import Service, serving

WriteAnswers = Callable[..., list[Path]]


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("6m0s", 360), ("350ms", 0.35), ("1h2m3.5s", 3723.5), ("", 0), ("soon", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


def test_retry_after_in_all_its_forms() -> None:
    assert stated_wait_s({"retry-after": "2"}) == 2
    assert stated_wait_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert stated_wait_s({}) is None
    assert stated_wait_s({"retry-after": "soon"}) is None
    for text, seconds in (("1 day", 86400), ("PT30S", 30), ("86400, 86400", 86400), ("1m30s", 90)):
        assert stated_wait_s({"retry-after": text}) == seconds
    assert stated_wait_s({"retry-after": ""}, "Please wait 30 seconds before retrying") == 30
    assert stated_wait_s({}, "try again in 3 days") == 3 * 86400
    assert stated_wait_s({"ratelimit-reset": "45"}) == 45
    for name, moment in (("retry-after", time.time() + 60), ("x-ratelimit-reset", 1000 * (time.time() + 60))):
        assert stated_wait_s({name: str(int(moment))}) == pytest.approx(60, abs=3)
    ended, coming = (datetime.now(UTC) + timedelta(seconds=shift) for shift in (-60, 60))
    assert stated_wait_s({"retry-after": coming.isoformat()}) == pytest.approx(60, abs=3)
    assert stated_wait_s({"retry-after": ended.isoformat()}) is None
    later = stated_wait_s({"retry-after": formatdate(time.time() + 900, usegmt=True)})
    assert later is not None
    assert 300 < later <= 900


def test_a_pause_holds_everybody_back() -> None:
    async def main() -> list[float]:
        gate = RateLimiter()
        gate.pause(0.3)
        start = time.monotonic()

        async def worker() -> float:
            await gate.wait(1)
            return time.monotonic() - start

        return await asyncio.gather(*(worker() for _ in range(5)))

    assert all(seconds >= 0.29 for seconds in asyncio.run(main()))


def test_limits_are_learnt_unless_given() -> None:
    headers = {"x-ratelimit-limit-requests": "120", "x-ratelimit-limit-tokens": "9000"}

    async def main() -> tuple[float, float]:
        learning, told = RateLimiter(), RateLimiter(60, None)
        learning.learn(headers)
        told.learn(headers)
        assert learning._requests is not None  # pyright: ignore[reportPrivateUsage]
        assert told._requests is not None  # pyright: ignore[reportPrivateUsage]
        assert learning._tokens is not None  # pyright: ignore[reportPrivateUsage]
        assert learning._tokens.max_rate == 9000  # pyright: ignore[reportPrivateUsage]
        return learning._requests.max_rate, told._requests.max_rate  # pyright: ignore[reportPrivateUsage]

    assert asyncio.run(main()) == (120, 60)


def test_nothing_remaining_is_waited_out() -> None:
    async def main() -> float:
        gate = RateLimiter()
        gate.learn(
            {
                "x-ratelimit-limit-requests": "1000",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "300ms",
            }
        )
        start = time.monotonic()
        await gate.wait(1)
        return time.monotonic() - start

    assert asyncio.run(main()) >= 0.29


def test_the_breaker_counts_failures_in_a_row() -> None:
    breaker = CircuitBreaker(3)
    breaker.failure("x")
    breaker.failure("x")
    breaker.success()
    breaker.failure("x")
    breaker.failure("x")
    with pytest.raises(IncompleteError, match="3 times in a row"):
        breaker.failure("reset by peer")


@pytest.mark.parametrize(
    ("headers", "text", "seconds"),
    [
        ({"retry-after": "1s"}, "", 1),
        ({"retry-after": "0"}, "", None),
        ({"retry-after": "-1"}, "try again in 5s", None),
        ({"retry-after": "86400"}, "", 86_400),
        ({}, '{"@type": "RetryInfo", "retryDelay": "34.5s"}', 34.5),
        ({}, "Rate limit reached on tokens per min. Please try again in 6m0s. Visit our page.", 360),
        ({}, "have exceeded the call rate limit. Please retry after 26 seconds.", 26),
        ({}, '"metadata": {"headers": {"X-RateLimit-Reset": "1741305600000"}}', None),
        ({}, "slow down", None),
    ],
)
def test_a_wait_is_read_wherever_it_is_stated(headers: dict[str, str], text: str, seconds: float | None) -> None:
    assert stated_wait_s(headers, text) == seconds


def test_a_stop_wakes_all_that_wait() -> None:
    async def main() -> list[str]:
        limiter = RateLimiter(requests_per_minute=1)
        limiter.pause(600)
        waiting = [asyncio.create_task(limiter.wait(1)), asyncio.create_task(limiter.sleep(600))]
        await asyncio.sleep(0.01)
        limiter.stop(IncompleteError("a day"))
        return [str(error) for error in await asyncio.gather(*waiting, return_exceptions=True)]

    assert asyncio.run(asyncio.wait_for(main(), 5)) == ["a day", "a day"]


def test_the_budget_waits_for_what_is_in_flight() -> None:
    async def main() -> list[str]:
        endpoint = Endpoint("m", "m", parse_address("http://x/v1"), Price(input=1.0, output=0.0))
        budget = JudgingBudget(endpoint, limit_usd=1.0)
        said: list[str] = []

        async def worker(name: str) -> None:
            try:
                async with budget.reserving(0.6):
                    await asyncio.sleep(0.01)
                    budget.count(Reply("", "m", prompt_tokens=300_000), 0.6)
            except BudgetError:
                said.append(f"{name} stops")
                return
            said.append(name)

        await asyncio.gather(*(worker(name) for name in "abc"))
        return said

    # One at a time: 0.3, then 0.6 spent (after 0.3 the next fits in just so), then 0.6 + 0.6 does not fit.
    assert asyncio.run(main()) == ["a", "b", "c stops"]


def test_an_enforced_limit_is_obeyed_and_loses_nothing(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(12)
    with serving(Service(faults={"429": 0.5}, retry_after_s=0.1)) as server:
        args = ["score", *map(str, files), "-o", str(tmp_path / "o"), "--judge", f"sim@{server.url}"]
        result = CliRunner().invoke(program, args)
        assert result.exit_code == 0
        assert server.counts["200"] == 12
        assert server.counts["429"] > 0


def test_a_slow_loris_has_a_deadline(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(10)
    with serving(Service(faults={"slow": 0.1, "hang": 0.1})) as server:
        args = ["score", *map(str, files), "-o", str(tmp_path / "o"), "--judge", f"sim@{server.url}"]
        result = CliRunner().invoke(program, [*args, "--timeout", "5"])
        assert result.exit_code == 0
        assert server.counts["200"] == 10
        assert server.counts.get("slow", 0) + server.counts.get("hang", 0) > 0
