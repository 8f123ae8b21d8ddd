"""Several devices, of one process or of many, make the run that one device makes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from equiloss.files import read_jsonl
from pretrain.model import checkpoint

pytest.importorskip("jax")
pytest.importorskip("optax")

# Ten sequences a step: five for each of two devices, in three micro-batches of two, one of them filling.
SETS = [
    "model.n_layer=1", "model.n_head=2", "model.n_embd=32", "model.context=16", "train.steps=12", "train.batch_size=2",
    "train.accumulate=5", "train.log_every=3", "train.eval_every=6", "train.eval_tokens=256", "train.precision=fp32",
    "train.save_every=5", "train.backend=jax", "train.threads=1",
]  # fmt: skip
TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


def start(data: Path, output: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "pretrain", "run", "tiny", "--data", str(data), "-o", str(output.parent)]
    sets = [f"--set={item}" for item in SETS]
    kept = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC")}
    return subprocess.Popen(
        [*call, "--name", output.name, *sets, *options], env=kept | environment, stderr=subprocess.PIPE, text=True
    )


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    messages = [process.communicate(timeout=1000)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), messages
    return messages


def assert_close_runs(first: Path, second: Path) -> None:
    rows: list[list[dict[str, Any]]] = [read_jsonl(path / "metrics.jsonl") for path in (first, second)]
    for one, other in zip(*rows, strict=True):
        for key in ("step", "loss", "loss_min", "loss_max", "grad_norm", "clipped", "validation_loss"):
            assert key not in one or one[key] == pytest.approx(other[key], rel=1e-5), (key, one, other)


@pytest.fixture(scope="module")
def alone(shards_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "alone"
    finish(start(shards_directory, directory))
    return directory


def test_two_devices_of_a_process_make_the_run_of_one(alone: Path, shards_directory: Path, tmp_path: Path) -> None:
    finish(start(shards_directory, tmp_path / "two", **TWO_DEVICES))
    assert_close_runs(alone, tmp_path / "two")
    run = checkpoint.load(tmp_path / "two" / "checkpoint.pt").run
    assert (run.processes, run.device) == (2, "cpu")
    assert checkpoint.load(alone / "checkpoint.pt").run.processes == 1


@pytest.mark.slow
def test_one_device_goes_on_with_the_state_of_two(alone: Path, shards_directory: Path, tmp_path: Path) -> None:
    finish(start(shards_directory, tmp_path / "a", **TWO_DEVICES))
    (tmp_path / "a" / "checkpoint.pt").unlink()
    assert "going on from step-00000010" in finish(start(shards_directory, tmp_path / "a", "--resume"))[0]
    assert_close_runs(alone, tmp_path / "a")


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(alone: Path, shards_directory: Path, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    names = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    finish(
        *(start(shards_directory, tmp_path / "a", **names, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2))
    )
    assert_close_runs(alone, tmp_path / "a")
    assert checkpoint.load(tmp_path / "a" / "checkpoint.pt").run.processes == 2


def test_fsdp_on_several_devices_is_refused(shards_directory: Path, tmp_path: Path) -> None:
    process = start(shards_directory, tmp_path / "a", "--set=train.parallel=fsdp", **TWO_DEVICES)
    message = process.communicate(timeout=1000)[1]
    assert process.returncode == 2
    assert "train.parallel=fsdp is not for train.backend=jax" in message
    assert not (tmp_path / "a").exists()
