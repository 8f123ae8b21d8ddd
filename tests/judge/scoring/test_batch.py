"""The Batch API end to end against the simulated judge: the same scores, split files, faults, and resuming."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from typer.testing import CliRunner

from equiloss.errors import BudgetError, IncompleteError
from judge.cli.main import program
from judge.endpoints.judges import parse_judge
from judge.scoring import batch as batch_api
from judge.scoring.batch import BatchLine, split
from judge.scoring.ledger import Ledger
from judge.simulate.replies import Simulation
from judge.simulate.server import Server, Service, serving

WriteAnswers = Callable[..., list[Path]]


def score(server: Server, files: list[Path], out: Path, *options: str) -> dict[str, Any]:
    """The command in this process; its JSON document for the judge."""
    args = ["score", *map(str, files), "-o", str(out), "--json", "--judge", f"sim@{server.url}", *options]
    result = CliRunner().invoke(program, args)
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)["judges"][0]


def values(out: Path) -> list[tuple[str, float]]:
    """Item and value of every verdict."""
    rows = [json.loads(line) for line in (out / "a.correctness.sim.jsonl").read_text().splitlines()]
    return [(row["id"], row["value"]) for row in rows]


def test_batches_give_the_scores_that_requests_give(
    write_answers: WriteAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_api.BatchExecutor.__init__, "__defaults__", (7, batch_api.MOST_BYTES))
    files = write_answers(20)
    with serving(Service(batch_s=0.1)) as server:
        direct = score(server, files, tmp_path / "direct")
        batched = score(server, files, tmp_path / "batched", "--batch", "--batch-poll", "0.05")
        assert server.counts["requests"] == direct["requests"]  # none of them went out one by one twice
        assert len(server.batches.batches) == -(-batched["requests"] // 7)
        again = score(server, files, tmp_path / "batched", "--batch")
    assert values(tmp_path / "direct") == values(tmp_path / "batched")
    assert batched["tokens"] == direct["tokens"]
    assert again["replies"] == 0


class Stumbling(Simulation):
    """Says nothing of use the first time that it is asked one of every three prompts, which ones being fixed."""

    def reply(self, body: Any) -> Any:
        """The simulated reply, or that."""
        found = super().reply(body)
        if len(body["messages"]) == 2 and crc32(body["messages"][1]["content"].encode()) % 3 == 0:
            found["content"] = "Hm."
        return found


def test_expired_failed_and_unreadable_ones_are_submitted_again(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(40)
    simulation = Stumbling(seed=3)
    faults = {"batch-expired": 0.05, "batch-error": 0.05}
    with serving(Service(simulation, faults=faults)) as server:
        found = score(server, files, tmp_path / "rough", "--batch", "--batch-poll", "0.02")
        assert len(server.batches.batches) > 1
    with serving() as server:
        score(server, files, tmp_path / "calm")
    assert values(tmp_path / "rough") == values(tmp_path / "calm")
    assert found["reasked"] > 0


def test_killed_while_waiting_collects_and_submits_nothing_twice(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(30)
    out = tmp_path / "o"
    with serving(Service(batch_s=3.0)) as server:
        command = [sys.executable, "-m", "judge", "score", *map(str, files), "-o", str(out)]
        command += ["--judge", f"sim@{server.url}", "--batch", "--batch-poll", "0.2"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not server.batches.batches:
            time.sleep(0.02)
        time.sleep(0.2)
        process.kill()
        process.wait()
        score(server, files, out, "--batch", "--batch-poll", "0.1")
        assert len(server.batches.batches) == 1
        assert server.counts.get("requests", 0) == 0
    assert len(values(out)) == 30


def test_killed_between_upload_and_submission(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(5)
    out = tmp_path / "o"
    with serving() as server:
        score(server, files, out, "--batch", "--batch-poll", "0.05")
        (batch,) = server.batches.batches.values()
        # As if the process had died right after the batch was made, before it wrote that down.
        with Ledger(out / "ledger.sqlite") as ledger:
            shas = [str(row["request_sha"]) for row in ledger.rows()]
            ledger.prune(judge=f"sim@{server.url}")
            provider = parse_judge(f"sim@{server.url}")
            ledger.keep_batch(batch.input_file_id, provider, shas)
            ledger.keep_batch("file-lost", provider, [])
        score(server, files, out, "--batch", "--batch-poll", "0.05")
        assert len(server.batches.batches) == 1
    assert len(values(out)) == 5


def test_what_keeps_failing_is_incomplete(write_answers: WriteAnswers, tmp_path: Path) -> None:
    with (
        serving(Service(faults={"batch-error": 1.0})) as server,
        pytest.raises(IncompleteError, match="simulated server"),
    ):
        score(server, write_answers(3), tmp_path / "o", "--batch", "--batch-poll", "0.01")


def test_budget_holds_before_anything_is_submitted(write_answers: WriteAnswers, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text("[models]\nsim = { input = 1.0, output = 2.0 }\n")
    with serving() as server:
        with pytest.raises(BudgetError):
            score(server, write_answers(9), tmp_path / "o", "--batch", "--prices", str(prices), "--max-usd", "0.00001")
        assert not server.batches.batches


def test_split_respects_both_limits() -> None:
    lines = [BatchLine(str(number), b"x" * 10) for number in range(10)]
    assert [len(one) for one in split(lines, 4, 1000)] == [4, 4, 2]
    assert [len(one) for one in split(lines, 100, 35)] == [3, 3, 3, 1]
    assert [len(one) for one in split(lines, 100, 5)] == [1] * 10
    assert list(split([], 4, 4)) == []
