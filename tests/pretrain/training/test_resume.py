"""Killed at any moment and resumed, a run ends with the weights and metrics of one that was never interrupted."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equiloss.errors import InputError
from equiloss.files import read_jsonl
from pretrain.config import RunConfig, load_run_config
from pretrain.model import checkpoint
from pretrain.training import state
from pretrain.training.optimizers import LossScaler
from pretrain.training.run import Run, train
from pretrain.training.step import Stepper

BASE = [
    "model.n_layer=2", "model.n_head=2", "model.n_embd=32", "model.context=16", "train.steps=30", "train.batch_size=4",
    "train.log_every=4", "train.eval_every=7", "train.eval_tokens=256", "train.save_every=5", "train.precision=fp32",
]  # fmt: skip
SETTINGS: dict[str, list[str]] = {
    "plain": [],
    "dropout and accumulation": ["model.dropout=0.2", "train.accumulate=3"],
    "bf16, random order": ["train.precision=bf16", "train.order=random"],
    "fp16, sequential order": ["train.precision=fp16", "train.order=sequential"],
    "tf32, no clipping": ["train.precision=tf32", "train.clip_norm=none"],
    "muon, wsd": ["train.optimizer=muon", "train.schedule=wsd"],
    "untied, no bias, best": ["model.tie_weights=false", "model.qkv_bias=false", "train.checkpoint=best"],
    "linear, decay everywhere": ["train.schedule=linear", "train.decay_on=everything", "train.weight_decay=0.3"],
    "constant, several epochs": ["train.schedule=constant", "train.batch_size=64", "train.seed=5"],
}
TIMES = ("tokens_per_s", "elapsed_s")


def config(*sets: str) -> RunConfig:
    return load_run_config("tiny", [*BASE, *sets])


def metrics(directory: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(directory / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def assert_equal_runs(first: Path, second: Path) -> None:
    assert metrics(first) == metrics(second)
    one, other = (checkpoint.load(path / "checkpoint.pt") for path in (first, second))
    theirs = other.model.state_dict()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    keys = ("train_loss", "validation_loss", "best_validation_loss", "step_of_weights", "skipped_steps", "steps")
    assert one.run.model_dump(include={*keys}) == other.run.model_dump(include={*keys})


class Killed(BaseException):
    """Stands for kill -9 in tests that stay in one process: nothing catches it, nothing is put in order."""


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_resumes_to_the_bit(
    name: str, shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(*SETTINGS[name])
    train(settings, shards_directory, tmp_path / "whole")
    original = Stepper.__call__
    rng = random.Random(name)
    left = [rng.randrange(3, 12) for _ in range(3)]

    def kill(self: Stepper, *arguments: Any) -> Any:
        if left:
            left[0] -= 1
            if left[0] == 0:
                left.pop(0)
                raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(Stepper, "__call__", kill)
    for _ in range(10):
        torch.manual_seed(rng.randrange(1000))  # another process has another global state
        try:
            train(settings, shards_directory, tmp_path / "resumed", resume=True)
            break
        except Killed:
            assert not (tmp_path / "resumed" / "checkpoint.pt").exists()
    assert not left
    assert_equal_runs(tmp_path / "whole", tmp_path / "resumed")


def test_skipped_steps_inside_an_unlogged_interval_survive(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossScaler, "__init__", lambda self: vars(self).update(SCALER))
    settings = ("train.precision=fp16", "train.log_every=12", "train.max_skipped=99")
    train(config(*settings), shards_directory, tmp_path / "whole")
    skipped = [row["skipped"] for row in metrics(tmp_path / "whole") if "skipped" in row]
    assert skipped[0] > 10  # states 5 and 10 hold infinite gradient norms
    interrupted(shards_directory, tmp_path / "a", monkeypatch, *settings)
    train(config(*settings), shards_directory, tmp_path / "a", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "a")


SCALER = {"scale": 2.0**40, "good_steps": 0, "growth_interval": 4}


def command(data: Path, output: Path, *extra: str, sets: list[str] | None = None) -> list[str]:
    options = [f"--set={item}" for item in [*BASE, *(sets or [])]]
    run = [sys.executable, "-m", "pretrain", "run", "tiny", "--data", str(data), "-o", str(output), "--name", "a"]
    return [*run, *options, *extra]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["dropout and accumulation", "fp16, sequential order", "muon, wsd"])
def test_killed_at_fifty_moments(name: str, kill_again: Any, shards_directory: Path, tmp_path: Path) -> None:
    sets = [*SETTINGS[name], "train.steps=200", "train.log_every=3", "train.eval_every=50", "train.threads=1"]
    train(config(*sets, "train.save_every=none"), shards_directory, tmp_path / "whole")

    def start(directory: Path) -> subprocess.Popen[bytes]:
        call = command(shards_directory, directory, "--resume", sets=[*sets, "train.save_every=1"])
        return subprocess.Popen(call, env=ENVIRONMENT, stderr=subprocess.DEVNULL)

    def progress(directory: Path) -> object:
        return [path.name for path in state.states_in(directory / "a" / "state")]

    for directory in kill_again(start, progress, 17, seed=len(name)):
        assert_equal_runs(tmp_path / "whole", directory / "a")
        assert len(state.states_in(directory / "a" / "state")) == 2  # train.keep
        assert not list((directory / "a" / "state").glob(".*"))  # nothing half-written is left


def test_ctrl_c_writes_a_state_and_exits_130(shards_directory: Path, tmp_path: Path) -> None:
    sets = ["train.steps=100000", "train.save_every=none"]
    call = command(shards_directory, tmp_path, sets=sets)
    process = subprocess.Popen(call, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    file = tmp_path / "a" / "metrics.jsonl"
    while not (file.exists() and file.stat().st_size) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=600)
    assert process.returncode == 130, messages
    assert "--resume goes on from" in messages
    assert "Traceback" not in messages
    (written,) = state.states_in(tmp_path / "a" / "state")
    progress = state.read_record(written).progress
    tensors = torch.load(written / "state.pt", weights_only=True)
    assert progress.step > 0
    assert f"step-{progress.step:08d}" in messages
    assert tensors["model"].keys() == tensors["optimizer"].keys()


def interrupted(data: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, *sets: str) -> None:
    """A run that died in its 13th step, with states of steps 5 and 10."""
    original, calls = Stepper.__call__, [0]

    def kill(self: Stepper, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 13:
            raise Killed
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", kill)
        with pytest.raises(Killed):
            train(config(*sets), data, directory)


def test_an_unfinished_run_is_not_overwritten(
    program: Callable[..., Any], shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(shards_directory, tmp_path / "a", monkeypatch)
    before = (tmp_path / "a" / "metrics.jsonl").read_bytes()
    again = program("pretrain", *command(shards_directory, tmp_path)[3:])
    assert again.code == 2
    assert "an unfinished run is there. add --resume" in again.err
    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() == before


def test_a_changed_config_is_named_field_by_field(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(shards_directory, tmp_path / "a", monkeypatch)
    changed = config("train.lr=0.5", "model.dropout=0.1", "train.clip_norm=none")
    with pytest.raises(InputError) as caught:
        train(changed, shards_directory, tmp_path / "a", resume=True)
    for part in ("train.lr: 0.002 → 0.5", "model.dropout: 0.0 → 0.1", "train.clip_norm: 1.0 → None"):
        assert part in str(caught.value)
    assert caught.value.exit_code == 2
    # What only says where and how may change.
    free = config("train.keep=5", "train.save_every=9", "train.threads=1")
    assert train(free, shards_directory, tmp_path / "a", resume=True).steps == 30


def test_changed_data_is_refused(shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    shutil.copytree(shards_directory, data)
    interrupted(data, tmp_path / "a", monkeypatch)
    tokens = np.memmap(data / "train.bin", np.uint16, mode="r+")
    tokens[1000] = (int(tokens[1000]) + 1) % 300  # one token of the text, the record untouched
    tokens.flush()
    with pytest.raises(InputError, match=r"changed since .*step-00000010 was written \(train split\)"):
        train(config(), data, tmp_path / "a", resume=True)


def test_half_written_states_are_never_picked_up(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config(), shards_directory, tmp_path / "whole")
    interrupted(shards_directory, tmp_path / "a", monkeypatch)
    states = tmp_path / "a" / "state"
    last = state.states_in(states)[-1]
    half = states / f".step-{11:08d}.123.tmp"
    shutil.copytree(last, half)
    (half / "state.pt").write_bytes((half / "state.pt").read_bytes()[:1000])
    train(config(), shards_directory, tmp_path / "a", resume=True)
    assert not half.exists()
    assert_equal_runs(tmp_path / "whole", tmp_path / "a")


def test_a_state_that_cannot_be_written_leaves_nothing(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state, "write_json", fail)
        with pytest.raises(Exception, match="no space left") as caught:
            train(config(), shards_directory, tmp_path / "a")
    assert getattr(caught.value, "exit_code", None) == 3
    assert list((tmp_path / "a" / "state").iterdir()) == []
    train(config(), shards_directory, tmp_path / "whole")
    train(config(), shards_directory, tmp_path / "a", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "a")


def test_a_damaged_state_is_a_clear_error(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(shards_directory, tmp_path / "a", monkeypatch)
    last = state.states_in(tmp_path / "a" / "state")[-1]
    (last / "state.pt").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"step-00000010: the state is damaged .*delete it"):
        train(config(), shards_directory, tmp_path / "a", resume=True)
    shutil.rmtree(last)
    assert train(config(), shards_directory, tmp_path / "a", resume=True).steps == 30


def test_killed_after_a_state_but_before_the_first_logged_step(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config("train.log_every=20", "train.eval_every=30"), shards_directory, tmp_path / "whole")
    interrupted(shards_directory, tmp_path / "a", monkeypatch, "train.log_every=20", "train.eval_every=30")
    assert not (tmp_path / "a" / "metrics.jsonl").exists()
    train(config("train.log_every=20", "train.eval_every=30"), shards_directory, tmp_path / "a", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "a")


def test_killed_before_the_first_state_it_starts_again(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config(), shards_directory, tmp_path / "whole")
    interrupted(shards_directory, tmp_path / "a", monkeypatch, "train.save_every=none")
    assert state.states_in(tmp_path / "a" / "state") == []
    train(config(), shards_directory, tmp_path / "a", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "a")


def test_killed_between_the_last_step_and_the_checkpoint(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config(), shards_directory, tmp_path / "whole")

    def kill(self: Run) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_finish", kill)
        with pytest.raises(Killed):
            train(config(), shards_directory, tmp_path / "a")
    train(config(), shards_directory, tmp_path / "a", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "a")


def test_torchruns_restart_resumes_by_itself(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config(), shards_directory, tmp_path / "whole")
    interrupted(shards_directory, tmp_path / "a", monkeypatch)
    with pytest.raises(InputError, match="unfinished run"):
        train(config(), shards_directory, tmp_path / "a")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(config(), shards_directory, tmp_path / "a")
    assert_equal_runs(tmp_path / "whole", tmp_path / "a")


def test_the_same_elastic_launch_resumes_by_itself_and_another_does_not(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that joins or leaves starts the processes again without counting it as a failure."""
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-1")
    interrupted(shards_directory, tmp_path / "a", monkeypatch)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-2")
    with pytest.raises(InputError, match="unfinished run"):
        train(config(), shards_directory, tmp_path / "a")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-1")
    assert train(config(), shards_directory, tmp_path / "a").steps == 30


def test_the_record_of_a_state_says_what_made_it(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(shards_directory, tmp_path / "a", monkeypatch)
    record = json.loads((state.states_in(tmp_path / "a" / "state")[-1] / "state.json").read_text())
    assert record["format"] == "equiloss.state.v1"
    assert record["progress"]["step"] == 10
    assert record["config"]["train"]["steps"] == 30
    assert record["made"]["libraries"]["torch"]
