"""Limits hold for all workers together, are learnt from headers, and a dead endpoint stops the run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest
from typer.testing import CliRunner

from equiloss.errors import BudgetError, IncompleteError
from judge.cli.main import program
from judge.endpoints.client import Endpoint
from judge.endpoints.prices import Price
from judge.endpoints.provider import Reply
from judge.endpoints.rate_limits import CircuitBreaker, RateLimiter, duration_s, retry_after_s
from judge.scoring.budget import JudgingBudget
from judge.simulate.server import Service, serving

WriteAnswers = Callable[..., list[Path]]


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("6m0s", 360), ("350ms", 0.35), ("1h2m3.5s", 3723.5), ("", 0), ("soon", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


def test_retry_after_in_all_its_forms() -> None:
    assert retry_after_s({"retry-after": "2"}) == 2
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after_s({}) is None
    assert retry_after_s({"retry-after": "soon"}) is None
    later = retry_after_s({"retry-after": formatdate(time.time() + 900, usegmt=True)})
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


def test_the_budget_waits_for_what_is_in_flight() -> None:
    async def main() -> list[str]:
        endpoint = Endpoint("m", "m", "http://x/v1", Price(input=1.0, output=0.0))
        budget = JudgingBudget(endpoint, limit_usd=1.0)
        said: list[str] = []

        async def worker(name: str) -> None:
            try:
                await budget.reserve(0.6)
            except BudgetError:
                said.append(f"{name} stops")
                return
            await asyncio.sleep(0.01)
            budget.count(Reply("", "m", prompt_tokens=300_000))
            budget.release(0.6)
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
