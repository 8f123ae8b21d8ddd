"""Data, a checkpoint and a state that version 0.1.0 wrote (tests/golden): opened, evaluated again, and taken up."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from equiloss.records import evaluation  # noqa: E402
from pretrain.config import load_run_config  # noqa: E402
from pretrain.data.shards import Shards  # noqa: E402
from pretrain.evaluation.evaluate import Method, evaluate  # noqa: E402
from pretrain.model import checkpoint  # noqa: E402
from pretrain.training.run import train  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden"
DATA, RUN = GOLDEN / "data" / "world", GOLDEN / "runs" / "base"


def test_the_data_is_that_of_the_run() -> None:
    shards = Shards.open(DATA)
    run = checkpoint.load(RUN / "checkpoint.pt").run
    assert run.data is not None
    assert run.data.sha256 == shards.sha256
    assert shards.record.source is not None
    assert shards.record.source == run.data.source
    assert shards.record.source.name.startswith("world:tiny?documents=40")
    assert shards.tokenizer.decode(shards.split("train").document(0).tolist()).endswith("<|endoftext|>")


def test_a_checkpoints_record_is_kept_to_the_letter() -> None:
    raw = torch.load(RUN / "checkpoint.pt", weights_only=True)["run"]
    run = checkpoint.load(RUN / "checkpoint.pt").run
    assert run.model_dump(mode="json") == raw
    assert (run.steps, run.train_settings["lr"]) == (6, 0.002)


def test_the_checkpoint_has_the_losses_that_were_measured_then() -> None:
    (stored,) = evaluation.find(RUN / "checkpoint.pt")
    loaded = checkpoint.load(RUN / "checkpoint.pt")
    now = evaluate(loaded, Shards.open(DATA), Method())
    assert loaded.sha256 == stored.record.checkpoint.sha256
    assert now.arrays["nats"] == pytest.approx(stored.arrays["nats"], rel=1e-5)
    for name, array in stored.arrays.items():
        assert np.allclose(now.arrays[name], array, rtol=1e-4), name


def test_a_run_goes_on_from_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GOLDEN, tmp_path / "golden")
    monkeypatch.chdir(tmp_path / "golden")
    done = checkpoint.load("runs/base/checkpoint.pt").model.state_dict()
    Path("runs/base/checkpoint.pt").unlink()
    result = train(load_run_config("runs/base/config.toml"), Path("data/world"), Path("runs/base"), resume=True)
    assert result.steps == 6
    for name, value in checkpoint.load("runs/base/checkpoint.pt").model.state_dict().items():
        assert torch.allclose(value, done[name], atol=1e-6), name
