from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretrain.data.shards import Shards

Program = Callable[..., Any]


def test_text_to_shards(program: Program, tmp_path: Path) -> None:
    for i in range(40):
        path = tmp_path / "in" / ("law" if i % 2 else "news") / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Document {i} says what it says.", encoding="utf-8")
    done = program(
        "pretrain", "data", tmp_path / "in", "-o", tmp_path / "out", "--validation", "0.2", "--test", "0.2", "--json"
    )
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert {s: v["documents"] > 0 for s, v in summary["splits"].items()} == dict.fromkeys(
        ("train", "validation", "test"), True
    )
    assert summary["domains"] == ["law", "news"]
    assert summary["tokenizer"]["kind"] == "gpt2"
    assert summary["sha256"] == Shards.open(tmp_path / "out").sha256
    assert "train: " in done.err


def test_a_tokenizer_is_trained_on_training_text_and_used_again(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"word {i} of the text" for i in range(300)), encoding="utf-8")
    arguments = ["--separator", "\n", "--seed", "1", "--validation", "0.3"]
    done = program("pretrain", "data", tmp_path / "a.txt", "-o", tmp_path / "x", "--train-tokenizer", "300", *arguments)
    assert done.code == 0, done.err
    trained = Shards.open(tmp_path / "x")
    assert trained.tokenizer.n_vocab == 300
    assert b" text" in trained.tokenizer.token_byte_values()
    done = program(
        "pretrain", "data", tmp_path / "a.txt", "-o", tmp_path / "y", "--tokenizer", tmp_path / "x" / "tokenizer.json",
        *arguments,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert Shards.open(tmp_path / "y").sha256 == trained.sha256


def test_the_speeches(program: Program, shared_data: Path, tmp_path: Path) -> None:
    done = program("pretrain", "data", shared_data / "text", "-o", tmp_path / "gpt2", "--json")
    summary = json.loads(done.out)
    assert summary["domains"] == ["inaugural", "state_union"]
    assert sum(s["documents"] for s in summary["splits"].values()) == 124
    assert 4.5 < summary["splits"]["train"]["bytes"] / summary["splits"]["train"]["tokens"] < 5.5
    done = program(
        "pretrain", "data", shared_data / "text", "-o", tmp_path / "own", "--train-tokenizer", "2048", "--json"
    )
    assert json.loads(done.out)["vocab_size"] == 2048
    assert json.loads(done.out)["splits"]["train"]["documents"] == summary["splits"]["train"]["documents"]


def test_an_empty_split_is_said(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a single text", encoding="utf-8")
    done = program("pretrain", "data", tmp_path / "a.txt", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert "no document fell to validation" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.txt"], "no such file"),
        (["bad.jsonl"], "line 2 is not JSON"),
        (["good.jsonl", "--text-field", "body"], "no field 'body'"),
        (["good.jsonl", "--tokenizer", "gpt9"], "no tokenizer 'gpt9'"),
        (["good.jsonl", "--train-tokenizer", "10"], "too small"),
        (["good.jsonl", "--validation", "1.5"], "leave nothing to train on"),
        (["good.jsonl", "--workers", "0"], "greater than or equal to 1"),
        (["world:atlantis"], "atlantis"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.jsonl").write_text('{"text": "a b"}\n', encoding="utf-8")
    Path("bad.jsonl").write_text('{"text": "a b"}\n{"text"\n', encoding="utf-8")
    done = program("pretrain", "data", *arguments, "-o", "out")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: ")
    assert not Path("out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_leaves_no_data_that_another_accepts(tmp_path: Path, how: signal.Signals) -> None:
    source = tmp_path / "large.jsonl"
    source.write_text(
        "".join(json.dumps({"text": f"{i} some text " * 40}) + "\n" for i in range(60_000)), encoding="utf-8"
    )
    command = [sys.executable, "-m", "pretrain", "data", str(source), "-o", str(tmp_path / "out"), "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    growing = tmp_path / "out" / ".partial" / "train.bin"
    try:
        deadline = time.monotonic() + 600
        while not (growing.exists() and growing.stat().st_size > 1_000_000) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(how)
        _, err = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == (130 if how is signal.SIGINT else -how)
    assert not (tmp_path / "out" / "data.json").exists()
    if how is signal.SIGINT:
        assert err.strip() == "error: interrupted"
        assert not (tmp_path / "out").exists()
