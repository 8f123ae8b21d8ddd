"""`kill -9` of the program at random moments: the same command again ends as if nothing had happened, to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from equiloss.records.response import read_responses

KILLS = 25


def start(arguments: list[str], directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ift", *arguments],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def outcome(directory: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, torch.Tensor]]:
    """The record without times and places, the answers, the weights."""
    record = json.loads((directory / "results" / "one.run.json").read_text())
    for key in ("environment", "provenance", "files"):
        del record[key]
    for epoch in record["epochs"]:
        del epoch["seconds"]
    answers = [one.model_dump() for one in read_responses(directory / "results" / "one.jsonl")]
    checkpoint = torch.load(directory / "runs" / "ift" / "one" / "checkpoint.pt", weights_only=True)
    return record, answers, checkpoint["state_dict"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("phase", ["training", "generation"])
def test_a_run_killed_again_and_again_ends_bit_equal(
    phase: str, kill_again: Any, make_base: Callable[..., Path], items: Path, tmp_path: Path
) -> None:
    base = make_base(n_embd=64)
    epochs, new_tokens = (24, 8) if phase == "training" else (2, 110)
    arguments = ["run", "--base", str(base), "--data", str(items), "--name", "one", "--recipe", "tiny"]
    arguments += ["--set", f"epochs={epochs}", "--set", "patience=none", "--set", "dropout=0.1"]
    arguments += ["--set", f"decoding.max_new_tokens={new_tokens}", "--set", "decoding.batch_size=1"]
    arguments += ["--set", "decoding.temperature=1.0", "--set", "split.test=0.3", "--set", "split.train=0.65"]
    if phase == "generation":  # so many that the kills do not reach the end
        rows = json.loads(items.read_text())
        items.write_text(
            json.dumps([{**row, "instruction": f"{k}: {row['instruction']}"} for k in range(9) for row in rows])
        )
        arguments += ["--set", "split.test=0.8", "--set", "split.train=0.15"]
    whole = tmp_path / "whole"
    whole.mkdir()
    assert start(arguments, whole).wait(1800) == 0
    expected = outcome(whole)

    def progress(directory: Path) -> object:
        kept = directory / "runs" / "ift" / "one" / ("state.pt" if phase == "training" else "answers.jsonl")
        return (kept.stat().st_mtime_ns, kept.stat().st_size) if kept.exists() else None

    for directory in kill_again(lambda directory: start(arguments, directory), progress, KILLS):
        found = outcome(directory)
        assert found[0] == expected[0]
        assert found[1] == expected[1]
        for name, value in expected[2].items():
            assert torch.equal(found[2][name], value), name
        model = directory / "runs" / "ift" / "one"
        assert sorted(path.name for path in model.iterdir()) == ["checkpoint.pt", "curve.png"]
