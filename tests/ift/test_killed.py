"""`kill -9` of the program at random moments: the same command again ends as if nothing had happened, to the bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ift.records import read_responses

KILLS = 6


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
@pytest.mark.parametrize("phase", ["training", "generation"])
def test_a_run_killed_again_and_again_ends_bit_equal(
    phase: str, make_base: Callable[..., Path], items: Path, tmp_path: Path
) -> None:
    base = make_base(n_embd=64)
    epochs, new_tokens = (24, 8) if phase == "training" else (2, 110)
    arguments = ["run", "--base", str(base), "--data", str(items), "--name", "one", "--recipe", "tiny"]
    arguments += ["--set", f"epochs={epochs}", "--set", "patience=none", "--set", "dropout=0.1"]
    arguments += ["--set", f"decoding.max_new_tokens={new_tokens}", "--set", "decoding.batch_size=1"]
    arguments += ["--set", "decoding.temperature=1.0", "--set", "split.test=0.3", "--set", "split.train=0.65"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for directory in (whole, broken):
        directory.mkdir()
    assert start(arguments, whole).wait(300) == 0
    expected = outcome(whole)

    model = broken / "runs" / "ift" / "one"
    draw = random.Random(7)

    def under_way() -> bool:
        """Whether the phase that is to be killed has begun to leave something to go on from."""
        if phase == "training":
            return (model / "state.pt").exists()
        return (model / "answers.jsonl").exists() and (model / "answers.jsonl").read_bytes().count(b"\n") > 1

    killed = 0
    progress: list[int] = []
    while killed < KILLS:
        process = start(arguments, broken)
        before = time.monotonic()
        while process.poll() is None and not under_way() and time.monotonic() - before < 200:
            time.sleep(0.005)
        if killed:  # from where the last one stopped: import, load, and some way into the phase
            time.sleep(draw.uniform(2.0, 5.0))
        else:
            time.sleep(draw.uniform(0.0, 0.2))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        killed += 1
        left = model / ("state.pt" if phase == "training" else "answers.jsonl")
        progress.append(left.stat().st_mtime_ns if left.exists() else 0)
    assert killed >= 2
    assert len(set(progress)) >= 2, "nothing was left to go on from"
    assert start(arguments, broken).wait(300) == 0

    found = outcome(broken)
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    for name, value in expected[2].items():
        assert torch.equal(found[2][name], value), name
    assert sorted(path.name for path in model.iterdir()) == ["checkpoint.pt", "curve.png"]
