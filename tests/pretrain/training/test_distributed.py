"""Several processes make the run that one makes: DDP and FSDP2 on gloo, 2 and 4 of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from equiloss.files import read_jsonl
from pretrain.config import RunConfig, load_run_config
from pretrain.model import checkpoint
from pretrain.model.decoder import GPT
from pretrain.training import state
from pretrain.training.distributed import World, synchronising, world
from pretrain.training.run import Run, train
from pretrain.training.step import Stepper

BASE = [
    "model.n_layer=2", "model.n_head=2", "model.n_embd=32", "model.context=16", "train.steps=12", "train.batch_size=2",
    "train.accumulate=6", "train.log_every=3", "train.eval_every=6", "train.eval_tokens=256", "train.precision=fp32",
    "train.threads=1", "train.save_every=5",
]  # fmt: skip


def config(*sets: str) -> RunConfig:
    return load_run_config("tiny", [*BASE, *sets])


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _child(rank: int, size: int, port: int, target: Any, arguments: tuple[Any, ...]) -> None:
    names = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    target(*arguments)


def together(size: int, target: Any, *arguments: Any) -> None:
    """Run `target` in `size` processes as torchrun would start them."""
    spawn(_child, (size, free_port(), target, arguments), nprocs=size)


def rows(directory: Path) -> list[dict[str, Any]]:
    return read_jsonl(directory / "metrics.jsonl")


def assert_close_runs(first: Path, second: Path, rel: float = 1e-5) -> None:
    for one, other in zip(rows(first), rows(second), strict=True):
        for key in ("loss", "loss_min", "loss_max", "grad_norm", "validation_loss", "lr", "tokens", "clipped"):
            assert (key in one) == (key in other)
            assert key not in one or one[key] == pytest.approx(other[key], rel=rel), key
    theirs = checkpoint.load(second / "checkpoint.pt").model.state_dict()
    for name, value in checkpoint.load(first / "checkpoint.pt").model.state_dict().items():
        assert torch.allclose(value, theirs[name], atol=2 * rel), name


def run_in_child(settings: RunConfig, data: Path, directory: Path, resume: bool = False) -> None:
    train(settings, data, directory, resume)


CASES = [
    pytest.param(2, "ddp", ["train.accumulate=5"], id="2-ddp-uneven"),
    pytest.param(2, "fsdp", [], id="2-fsdp"),
    pytest.param(4, "ddp", [], id="4-ddp", marks=pytest.mark.slow),
    pytest.param(4, "fsdp", ["train.accumulate=5", "model.tie_weights=false"], id="4-fsdp", marks=pytest.mark.slow),
    pytest.param(2, "ddp", ["train.optimizer=muon"], id="2-ddp-muon", marks=pytest.mark.slow),
    pytest.param(2, "fsdp", ["train.optimizer=muon"], id="2-fsdp-muon", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("size", "parallel", "sets"), CASES)
def test_many_processes_make_the_run_of_one(
    size: int, parallel: str, sets: list[str], shards_directory: Path, tmp_path: Path
) -> None:
    settings = config(f"train.parallel={parallel}", *sets)
    train(settings, shards_directory, tmp_path / "one")
    together(size, run_in_child, settings, shards_directory, tmp_path / "many")
    # Muon orthogonalises in bf16, which makes more of a difference in the last bit.
    assert_close_runs(tmp_path / "one", tmp_path / "many", rel=1e-3 if "train.optimizer=muon" in sets else 1e-5)
    assert checkpoint.load(tmp_path / "many" / "checkpoint.pt").run.processes == size


def _check_gradients(data: Path, output: Path) -> None:
    """In each process: gradients of one step in fp64, and how often they travelled."""
    settings = config("train.clip_norm=none")
    with world("cpu") as peers:
        run = Run(settings, data, output / "unused", peers)
        run._build()
        run.model.double()
        counted = [0]
        if peers.size > 1:
            from torch.nn.parallel import DistributedDataParallel

            wrapped = DistributedDataParallel(run.model, bucket_cap_mb=1000)

            def hook(_, bucket):  # torch insists on its own annotations, or none
                counted[0] += 1
                import torch.distributed as dist

                work = dist.all_reduce(bucket.buffer(), async_op=True).get_future()  # pyright: ignore
                return work.then(lambda future: future.value()[0] / peers.size)

            wrapped.register_comm_hook(None, hook)
            assert isinstance(run.stepper, Stepper)
            run.stepper.wrapped = wrapped
        gradients: dict[str, torch.Tensor] = {}

        def keep(lr: float) -> None:
            gradients.update({n: p.grad.clone() for n, p in run.model.named_parameters() if p.grad is not None})

        run.optimizers.step = keep  # type: ignore[method-assign]
        loss = run.stepper(0, *run._batch(run.order.offsets(0)), 0.0).loss
        (loss,) = peers.sum([loss])
        if peers.main:
            torch.save({"loss": loss, "gradients": gradients, "counted": counted[0]}, output / f"{peers.size}.pt")


def test_gradients_of_two_equal_those_of_one_and_travel_once(shards_directory: Path, tmp_path: Path) -> None:
    _check_gradients(shards_directory, tmp_path)
    together(2, _check_gradients, shards_directory, tmp_path)
    one, two = (torch.load(tmp_path / f"{size}.pt", weights_only=True) for size in (1, 2))
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-6)
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        assert (two["gradients"][name] - gradient).abs().max() < 1e-6, name
    # 12 sequences in micro-batches of 2: three per process, and only the last of them exchanges its (few) buckets.
    assert two["counted"] <= 2


def _dropout_masks(data: Path, output: Path) -> None:
    settings = config("model.dropout=0.5")
    with world("cpu") as peers:
        run = Run(settings, data, output, peers)
        run._build()
        x = torch.zeros(2, 16, dtype=torch.long)  # the same input everywhere
        torch.manual_seed(0)
        losses = [run.stepper(step, x.repeat(3, 1), x.repeat(3, 1), 0.0).loss for step in range(2)]
        (output / f"{peers.rank}.json").write_text(json.dumps(losses))


def test_ranks_draw_different_dropout(shards_directory: Path, tmp_path: Path) -> None:
    together(2, _dropout_masks, shards_directory, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert len({*first, *second}) == 4


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_state_of_many_goes_on_with_one_and_the_other_way_round(
    parallel: str, shards_directory: Path, tmp_path: Path
) -> None:
    settings = config(f"train.parallel={parallel}")
    train(settings, shards_directory, tmp_path / "whole")
    for first, second in ((2, 1), (1, 2)):
        directory = tmp_path / f"{first}-{second}"
        for size in (first, second):
            if size == 1:
                train(settings, shards_directory, directory, resume=True)
            else:
                together(2, run_in_child, settings, shards_directory, directory, True)
            if size == first:  # take it back to the state of step 10
                (directory / "checkpoint.pt").unlink()
                assert state.states_in(directory / "state")[-1].name == "step-00000010"
        assert_close_runs(tmp_path / "whole", directory)


@pytest.mark.slow
def test_torchrun_restarts_a_killed_worker_and_the_run_goes_on(shards_directory: Path, tmp_path: Path) -> None:
    train(config(), shards_directory, tmp_path / "whole")
    launcher = tmp_path / "launcher.py"
    # A worker that dies once, in its eighth step, as if the machine had killed it.
    launcher.write_text(
        "import os, signal\n"
        "from pretrain.training.step import Stepper\n"
        "from pretrain.cli.main import main\n"
        "original = Stepper.__call__\n"
        "def step(self, number, *rest):\n"
        "    if number == 7 and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and self.world.rank == 1:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(self, number, *rest)\n"
        "Stepper.__call__ = step\n"
        "main()\n"
    )
    options = [f"--set={item}" for item in BASE]
    call = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "3",
        str(launcher), "run", "tiny", "--data", str(shards_directory), "-o", str(tmp_path / "runs"), "--name", "a",
    ]  # fmt: skip
    done = subprocess.run([*call, *options], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "going on from step-00000005" in done.stderr
    assert "lost another one; the last state is step-00000005" in done.stderr
    assert_close_runs(tmp_path / "whole", tmp_path / "runs" / "a")


@pytest.mark.slow
def test_two_nodes_meet_at_a_rendezvous(shards_directory: Path, tmp_path: Path) -> None:
    train(config(), shards_directory, tmp_path / "whole")
    options = [f"--set={item}" for item in BASE]
    call = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend",
        "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "job", "--local-addr", "127.0.0.1",
        "-m", "pretrain", "run", "tiny", "--data", str(shards_directory), "-o", str(tmp_path), "--name", "a", *options,
    ]  # fmt: skip
    nodes = [subprocess.Popen(call, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    messages = [node.communicate(timeout=900)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], messages
    assert_close_runs(tmp_path / "whole", tmp_path / "a")
    assert checkpoint.load(tmp_path / "a" / "checkpoint.pt").run.processes == 2


@pytest.mark.slow
def test_an_error_under_torchrun_is_told_once(shards_directory: Path, tmp_path: Path) -> None:
    call = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "pretrain", "run",
        "tiny", "--data", str(shards_directory), "-o", str(tmp_path), "--name", "a",
    ]  # fmt: skip
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "checkpoint.pt").write_bytes(b"")
    done = subprocess.run(call, capture_output=True, text=True, timeout=900)
    assert done.returncode != 0
    assert done.stderr.count("a checkpoint without its config.toml is there") == 1


def test_one_process_needs_no_group() -> None:
    with world("cpu") as peers:
        assert (peers.rank, peers.size, peers.main) == (0, 1, True)
        assert not torch.distributed.is_initialized()
        assert peers.sum([1.5]) == [1.5]
        assert peers.any([True, False]) == [True, False]
        model = GPT(config().model.model_copy(update={"vocab_size": 10}))
        with synchronising(model, last=False):
            assert World(0, 1, torch.device("cpu")).place(torch.ones(2), torch.zeros(2)).tolist() == [1.0, 1.0]
