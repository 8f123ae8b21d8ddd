"""`train.backend = "jax"` makes the run that torch makes, and leaves the same files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from equiloss.errors import InputError
from equiloss.files import read_jsonl
from pretrain.config import RunConfig, load_run_config
from pretrain.model import checkpoint
from pretrain.training import state
from pretrain.training.run import train

pytest.importorskip("jax")
pytest.importorskip("optax")

from pretrain.training.jax_step import JaxStepper

BASE = [
    "model.n_layer=2", "model.n_head=2", "model.n_embd=32", "model.context=16", "train.steps=12", "train.batch_size=4",
    "train.log_every=3", "train.eval_every=5", "train.eval_tokens=400", "train.precision=fp32", "train.samples=1",
]  # fmt: skip
SETTINGS: dict[str, list[str]] = {
    "defaults, accumulated": ["train.accumulate=2"],
    "clipped, decay everywhere, wsd": [
        *("train.clip_norm=0.3", "train.decay_on=everything", "train.weight_decay=0.5", "train.schedule=wsd"),
    ],
    "the diary's JAX model, beta2 0.999": [
        *("model.tie_weights=false", "model.qkv_bias=false", "model.norm=std", "model.init=flax"),
        *("train.beta2=0.999", "train.order=sequential", "train.clip_norm=none"),
    ],
    "masked induction, linear, random order": [
        *("train.mask_induction=true", "train.schedule=linear", "train.order=random", "model.out_bias=false"),
    ],
}


def config(*sets: str, backend: str = "jax") -> RunConfig:
    return load_run_config("tiny", [*BASE, f"train.backend={backend}", *sets])


def rows(directory: Path, times: bool = False) -> list[dict[str, Any]]:
    skipped = () if times else ("tokens_per_s", "elapsed_s")
    return [
        {key: value for key, value in row.items() if key not in skipped}
        for row in read_jsonl(directory / "metrics.jsonl")
    ]


def assert_close_runs(first: Path, second: Path, tolerance: float) -> None:
    """The same steps, rates and counts; losses and norms within `tolerance`."""
    for one, other in zip(rows(first), rows(second), strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert value == pytest.approx(other[key], abs=tolerance, rel=tolerance), (key, one, other)


def assert_equal_runs(first: Path, second: Path) -> None:
    assert rows(first) == rows(second)
    weights, theirs = (checkpoint.load(path / "checkpoint.pt").model.state_dict() for path in (first, second))
    assert all(torch.equal(value, theirs[name]) for name, value in weights.items())


@pytest.mark.parametrize("name", SETTINGS)
def test_fifty_steps_have_the_curve_of_torch(name: str, shards_directory: Path, tmp_path: Path) -> None:
    sets = [*SETTINGS[name], "train.steps=50", "train.log_every=1", "train.eval_every=25"]
    for backend in ("torch", "jax"):
        train(config(*sets, backend=backend), shards_directory, tmp_path / backend)
    assert len(rows(tmp_path / "jax")) == 50 + 2
    assert_close_runs(tmp_path / "torch", tmp_path / "jax", 1e-4)


@pytest.mark.slow
def test_muon_has_the_curve_of_torch_but_for_its_bf16(shards_directory: Path, tmp_path: Path) -> None:
    sets = ["train.optimizer=muon", "train.steps=30", "train.log_every=1"]
    for backend in ("torch", "jax"):
        train(config(*sets, backend=backend), shards_directory, tmp_path / backend)
    losses = [[row["loss"] for row in rows(tmp_path / backend) if "loss" in row] for backend in ("torch", "jax")]
    assert losses[0][:2] == pytest.approx(losses[1][:2], abs=1e-4)
    assert losses[0] == pytest.approx(losses[1], abs=5e-3)


def test_the_command_leaves_what_torch_leaves(
    program: Callable[..., Any], shards_directory: Path, tmp_path: Path
) -> None:
    records = {}
    for backend in ("torch", "jax"):
        options = [f"--set={item}" for item in [*BASE, f"train.backend={backend}"]]
        done = program(
            "pretrain", "run", "tiny", "--data", shards_directory, "-o", tmp_path, "--name", backend, *options, "--json"
        )
        assert done.code == 0, done.err
        assert json.loads(done.out)["steps"] == 12
        records[backend] = checkpoint.load(tmp_path / backend / "checkpoint.pt").run.model_dump(mode="json")
    files = [{path.name for path in (tmp_path / backend).iterdir()} for backend in ("torch", "jax")]
    assert files[0] == files[1]
    assert records["jax"].keys() == records["torch"].keys()
    assert records["jax"]["config"]["train"] == records["torch"]["config"]["train"] | {"backend": "jax"}
    assert (records["jax"]["device"], records["jax"]["processes"]) == ("cpu", 1)
    assert {"jax", "optax"} <= records["jax"]["provenance"]["libraries"].keys()
    assert (tmp_path / "jax" / "samples.jsonl").read_text() == (tmp_path / "torch" / "samples.jsonl").read_text()
    done = program("pretrain", "eval", tmp_path / "jax" / "checkpoint.pt", "--data", shards_directory, "--json")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "sets",
    [
        ["model.dropout=0.2", "train.accumulate=3", "train.checkpoint=best"],
        pytest.param(["train.optimizer=muon", "train.precision=bf16"], marks=pytest.mark.slow),
    ],
    ids=["dropout", "muon, bf16"],
)
def test_an_interrupted_run_goes_on_to_the_bit(
    sets: list[str], shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(*sets, "train.save_every=4")
    train(settings, shards_directory, tmp_path / "whole")
    original = JaxStepper.__call__

    def stop(self: JaxStepper, step: int, *rest: Any) -> Any:
        if step == 6:
            raise RuntimeError("killed")
        return original(self, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(JaxStepper, "__call__", stop)
        with pytest.raises(RuntimeError, match="killed"):
            train(settings, shards_directory, tmp_path / "resumed")
    assert state.states_in(tmp_path / "resumed" / "state")[-1].name == "step-00000004"
    train(settings, shards_directory, tmp_path / "resumed", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "resumed")


def test_dropout_is_a_function_of_its_seed_and_told_in_the_record(shards_directory: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config("model.dropout=0.3", f"train.dropout_seed={seed}"), shards_directory, tmp_path / name)
    assert_equal_runs(tmp_path / "a", tmp_path / "b")
    assert rows(tmp_path / "a") != rows(tmp_path / "c")
    (note,) = checkpoint.load(tmp_path / "a" / "checkpoint.pt").run.notes
    assert "dropout was drawn by JAX" in note


def test_steps_that_are_not_finite_leave_weights_and_moments_alone(
    shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config()
    stepper = built(settings, shards_directory, tmp_path / "a")
    ids = torch.zeros(4, 16, dtype=torch.long)
    assert not stepper(0, ids, ids, 1e-3).skipped
    stepper.hand_back()
    before = {name: value.clone() for name, value in stepper.model.state_dict().items()}
    count = stepper.optimizers.state()["final_norm.bias"]["step"].clone()
    weight = stepper.trainer.parameters["final_norm.weight"]
    stepper.trainer.parameters["final_norm.weight"] = weight * float("nan")
    assert stepper(1, ids, ids, 1e-3).skipped
    stepper.hand_back()
    after = stepper.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "final_norm.weight")
    assert stepper.optimizers.state()["final_norm.bias"]["step"] == count == 1


def built(settings: RunConfig, data: Path, directory: Path) -> JaxStepper:
    from pretrain.training.distributed import world
    from pretrain.training.run import Run

    with world("cpu", "jax") as peers:
        run = Run(settings, data, directory, peers)
        run._build()
        assert isinstance(run.stepper, JaxStepper)
        return run.stepper


def test_checkpoints_and_moments_go_both_ways(shards_directory: Path, tmp_path: Path) -> None:
    """Either goes on with the other's checkpoint; a state of one holds what the other would have written."""
    for backend, other in (("torch", "jax"), ("jax", "torch")):
        train(config("train.save_every=6", backend=backend), shards_directory, tmp_path / backend)
        start = f"train.start={tmp_path / backend / 'checkpoint.pt'}"
        for again in (backend, other):
            name = f"{backend}-{again}"
            train(config(start, "train.log_every=1", backend=again), shards_directory, tmp_path / name)
        assert_close_runs(tmp_path / f"{backend}-{backend}", tmp_path / f"{backend}-{other}", 1e-4)
        run = checkpoint.load(tmp_path / f"{backend}-{other}" / "checkpoint.pt").run
        assert run.start is not None
        assert run.start.path == str(tmp_path / backend / "checkpoint.pt")
    model = built(config(), shards_directory, tmp_path / "x").model
    states = [tmp_path / backend / "state" / "step-00000006" for backend in ("torch", "jax")]
    tensors = [state.load(path, model)[1] for path in states]
    assert tensors[0]["optimizer"].keys() == tensors[1]["optimizer"].keys()
    for name, moments in tensors[0]["optimizer"].items():
        for key, value in moments.items():
            theirs = tensors[1]["optimizer"][name][key]
            assert (value - theirs).abs().max() <= 1e-4 * value.abs().max() + 1e-9, (name, key)


def test_a_state_of_the_other_backend_is_another_configuration(shards_directory: Path, tmp_path: Path) -> None:
    train(config("train.save_every=6", backend="torch"), shards_directory, tmp_path / "a")
    (tmp_path / "a" / "checkpoint.pt").unlink()
    with pytest.raises(InputError, match=r"train.backend"):
        train(config("train.save_every=6"), shards_directory, tmp_path / "a", resume=True)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["train.precision=fp16"], "train.precision=fp16 is not for train.backend=jax"),
        (["train.device=abacus"], "train.device is 'abacus', which JAX does not have here"),
        (["train.device=cpu:7"], "train.device is 'cpu:7', which JAX does not have here"),
    ],
)
def test_what_jax_does_not_do_is_refused_before_anything_is_written(
    sets: list[str], message: str, shards_directory: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        train(config(*sets), shards_directory, tmp_path / "a")
    assert not (tmp_path / "a").exists()
