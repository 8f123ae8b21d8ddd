"""Stopping early: seldom without a difference, soon with a large one, and the same after a break."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from equiloss.records.response import read_responses, write_responses
from judge import rubrics
from judge.cli.main import program
from judge.data.answers import open_jointly
from judge.scoring.early_stopping import BettingMartingale
from judge.scoring.options import ScoreRequest
from judge.scoring.plan import Plan
from judge.simulate.server import Server, Service, serving

WriteAnswers = Callable[..., list[Path]]


def decided(mean: float, seed: int, n: int = 400, alpha: float = 0.05) -> int | None:
    """When a test on differences of this mean decides; they are as spread as scores often are."""
    rng, test = random.Random(seed), BettingMartingale(alpha)
    for _ in range(n):
        test.add(max(-1.0, min(1.0, rng.gauss(mean, 0.35))))
    return test.decided_at


def test_error_rate_holds_at_every_look() -> None:
    false = sum(decided(0.0, seed) is not None for seed in range(400))
    assert false / 400 <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_error_rate_holds_for_skewed_differences() -> None:
    false = 0
    for seed in range(400):
        rng, test = random.Random(seed), BettingMartingale(0.05)
        for _ in range(300):
            test.add(0.9 if rng.random() < 0.1 else -0.1)  # mean zero
        false += test.decided_at is not None
    assert false / 400 <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_large_differences_are_settled_soon() -> None:
    stops = [decided(0.3, seed) for seed in range(50)]
    assert all(stop is not None and stop < 120 for stop in stops)


def test_order_is_random_and_fixed(write_answers: WriteAnswers) -> None:
    answers, rubric = open_jointly(write_answers(50)), rubrics.load("correctness")
    first, same, other = (Plan(answers, rubric, ScoreRequest(early_stop=0.05, seed=seed)).ids for seed in (1, 1, 2))
    assert first == same != other
    assert sorted(first) == sorted(answers.ids)


def run(server: Server, files: list[Path], out: Path, *options: str) -> dict[str, Any]:
    """The command in this process; its JSON document for the judge."""
    args = ["score", *map(str, files), "-o", str(out), "--json", "--judge", f"sim@{server.url}", *options]
    result = CliRunner().invoke(program, args)
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)["judges"][0]


def test_a_settled_difference_ends_judging(write_answers: WriteAnswers, tmp_path: Path) -> None:
    good, bad = write_answers(300)
    write_responses(bad, [one.model_copy(update={"output": "No idea."}) for one in read_responses(bad)])
    with serving(Service(latency_s=0.005)) as server:
        options = ("--early-stop", "0.05", "--canaries", "0", "--concurrency", "4")
        found = run(server, [good, bad], tmp_path / "o", *options)
        kept = (tmp_path / "o/a.correctness.sim.jsonl").read_bytes()
        early = found["early_stop"]
        assert early["decided"]
        assert early["items_saved"] == 300 - early["items"] > 200
        assert server.counts["requests"] <= early["items"] + 4
        assert len(kept.splitlines()) == early["items"]
        again = run(server, [good, bad], tmp_path / "o", *options)
        assert again["replies"] == 0
    assert (tmp_path / "o/a.correctness.sim.jsonl").read_bytes() == kept


def test_no_difference_is_judged_to_the_end(write_answers: WriteAnswers, tmp_path: Path) -> None:
    a, b = write_answers(40)
    write_responses(b, [one.model_copy(update={"generator": "b"}) for one in read_responses(a)])
    with serving() as server:
        found = run(server, [a, b], tmp_path / "o", "--early-stop", "0.05")
    assert found["early_stop"]["decided"] is False
    assert found["early_stop"]["items"] == 40


@pytest.mark.parametrize("alpha", ["0", "1", "-1"])
def test_alpha_is_checked(write_answers: WriteAnswers, tmp_path: Path, alpha: str) -> None:
    args = ["score", *map(str, write_answers(3)), "-o", str(tmp_path), "--judge", "x@http://127.0.0.1:1/v1"]
    result = CliRunner().invoke(program, [*args, "--early-stop", alpha])
    assert result.exit_code != 0
