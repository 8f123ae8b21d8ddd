"""The whole path on real speeches and instructions, in short, through the real programs and a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The base URL of `judge simulate`, run as its users run it."""
    command = [sys.executable, "-m", "judge", "simulate", "--port", "0", "--seconds", "1200"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.terminate()
    server.wait(timeout=300)


def verdicts(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_speeches_to_report(shared_data: Path, tmp_path: Path, monkeypatch, program: Callable, endpoint: str):
    monkeypatch.chdir(tmp_path)
    for domain in ("inaugural", "state_union"):
        (tmp_path / "speeches" / domain).mkdir(parents=True)
        for path in sorted((shared_data / "text" / domain).glob("*.txt"))[:12]:
            (tmp_path / "speeches" / domain / path.name).write_bytes(path.read_bytes())
    items = json.loads((shared_data / "alpaca" / "instruction-data-1100.json").read_text())
    (tmp_path / "alpaca.json").write_text(json.dumps(items[:80]))

    def ok(name: str, *arguments: object) -> str:
        outcome = program(name, *arguments)
        assert outcome.code == 0, outcome.err
        return outcome.out

    ok("pretrain", "data", "speeches", "-o", "data", "--tokenizer", "gpt2", "--test", 0.2, "--workers", 1)
    small = ["n_layer=1", "n_head=2", "n_embd=16", "context=256"]
    sets = [part for one in small for part in ("--set", f"model.{one}")]
    for name, seed in (("a", 1), ("b", 2)):
        short = ["--set", "train.steps=3", "--set", "train.batch_size=2", "--set", "train.eval_tokens=2048"]
        ok("pretrain", "run", "tiny", "--data", "data", "--name", name, "--seed", seed, *sets, *short)
        quick = ["--set", "epochs=1", "--set", "decoding.max_new_tokens=8"]
        ok("ift", "run", "--base", f"runs/{name}/checkpoint.pt", "--data", "alpaca.json", "--name", name, *quick)
    losses = json.loads(ok("pretrain", "eval", "runs/a/checkpoint.pt", "--data", "data", "--json"))
    assert losses

    files = ["results/a.jsonl", "results/b.jsonl"]
    ok("judge", "score", *files, "--judge", f"simulated@{endpoint}", "--canaries", 0)
    a = verdicts(tmp_path / "results" / "a.correctness.simulated.jsonl")
    b = verdicts(tmp_path / "results" / "b.correctness.simulated.jsonl")
    assert len(a) == len(b) == 8  # the tenth of the 80 items that was held out
    assert [v["id"] for v in a] == [v["id"] for v in b]
    assert {v["position"] for v in a} == {0, 1}  # blinded, in a balanced order
    compared = json.loads(ok("judge", "compare", *files, "--json"))
    assert {model["name"] for model in compared["models"]} == {"a", "b"}
    ok("judge", "report", *files, "-o", "report")
    split = json.loads((tmp_path / "results" / "a.run.json").read_text())["data"]["split"]
    assert {v["id"] for v in a} == set(split["test"])
    assert not set(split["test"]) & {*split["train"], *split["validation"]}
    html = (tmp_path / "report" / "report.html").read_text()
    assert str(a[0]["id"]) in html


def test_real_answers_are_judged_as_they_are(shared_data: Path, tmp_path: Path, program: Callable, endpoint: str):
    answers = shared_data / "alpaca" / "gpt2-medium-responses-110.json"
    for judge, options in (("simulated", ["--judge", f"simulated@{endpoint}"]), ("offline-reference", [])):
        outcome = program("judge", "score", answers, "-o", tmp_path, *options)
        assert outcome.code == 0, outcome.err
        scored = verdicts(tmp_path / f"gpt2-medium-responses-110.correctness.{judge}.jsonl")
        assert len(scored) == 110
        assert 0 < sum(float(str(v["value"])) for v in scored) / 110 < 100
        assert [v["generator"] for v in scored] == ["gpt2-medium-responses-110"] * 110
