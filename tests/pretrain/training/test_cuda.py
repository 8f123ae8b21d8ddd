"""What a GPU must do as the CPU does. `EQUILOSS_TEST_DEVICE=cpu` runs the same tests where there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from equiloss.files import read_jsonl
from pretrain.config import ModelConfig, load_run_config
from pretrain.model import checkpoint
from pretrain.model.cross_entropy import linear_cross_entropy
from pretrain.model.decoder import GPT
from pretrain.model.generation import generate
from pretrain.model.packing import Packed
from pretrain.training.run import train
from pretrain.training.step import Stepper

DEVICE = os.environ.get("EQUILOSS_TEST_DEVICE", "cuda" if torch.cuda.is_available() else "")
pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not DEVICE, reason="needs a GPU, or EQUILOSS_TEST_DEVICE")]
BASE = [
    "model.n_layer=2", "model.n_head=2", "model.n_embd=64", "model.context=32", "train.steps=20", "train.batch_size=4",
    "train.log_every=4", "train.eval_every=10", "train.eval_tokens=256", "train.save_every=5",
]  # fmt: skip
TEXTS = [[1, 5, 9, 2, 7, 4, 4, 8, 3, number, *range(number)] for number in (6, 11, 2)]
SHAPE = ModelConfig(n_layer=2, n_head=2, n_embd=64, context=64, vocab_size=300)


def trained(data: Path, directory: Path, *sets: str, resume: bool = False) -> list[float]:
    """The logged losses of a run."""
    train(load_run_config("tiny", [*BASE, *sets]), data, directory, resume)
    return [row["loss"] for row in read_jsonl(directory / "metrics.jsonl") if "loss" in row]


@pytest.mark.parametrize(("precision", "rel"), [("fp32", 1e-3), ("tf32", 5e-3), ("bf16", 3e-2)])
def test_each_precision_trains_as_fp32_on_the_cpu(
    precision: str, rel: float, shards_directory: Path, tmp_path: Path
) -> None:
    cpu = trained(shards_directory, tmp_path / "cpu", "train.device=cpu", "train.precision=fp32")
    sets = (f"train.device={DEVICE}", f"train.precision={precision}")
    assert trained(shards_directory, tmp_path / "gpu", *sets) == pytest.approx(cpu, rel=rel)


@pytest.mark.parametrize("sets", [["train.precision=bf16"], ["train.precision=fp32", "model.dropout=0.1"]])
def test_a_killed_run_resumes_to_the_bit(
    sets: list[str], shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [f"train.device={DEVICE}", *sets]
    whole = trained(shards_directory, tmp_path / "whole", *sets)
    step, left = Stepper.__call__, [13]

    def kill(self: Stepper, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Stepper, "__call__", kill)
    with pytest.raises(KeyboardInterrupt):
        trained(shards_directory, tmp_path / "killed", *sets)
    assert trained(shards_directory, tmp_path / "killed", *sets, resume=True) == whole
    one, two = (checkpoint.load(tmp_path / name / "checkpoint.pt").model.state_dict() for name in ("whole", "killed"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_packed_texts_and_the_fused_loss_are_those_of_each_text_alone() -> None:
    model = GPT(SHAPE).to(DEVICE)
    packed = Packed(TEXTS, device=torch.device(DEVICE))
    hidden = packed.hidden(model)
    for text, index in zip(TEXTS, packed.index, strict=True):
        alone = model.backbone(torch.tensor([text], device=DEVICE))[0]
        torch.testing.assert_close(hidden[index], alone, rtol=1e-4, atol=1e-4)
    targets = torch.randint(300, (len(hidden),), device=DEVICE)
    losses = [linear_cross_entropy(hidden, model.head_weight, targets, size) for size in (1 << 30, 900)]
    gradients = [torch.autograd.grad(loss, model.head_weight, retain_graph=True)[0] for loss in losses]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_greedy_answers_are_those_of_the_cpu() -> None:
    answers = [generate(GPT(SHAPE).to(place), TEXTS, max_new_tokens=12, eos_id=None) for place in ("cpu", DEVICE)]
    assert answers[0] == answers[1]


def test_ddp_on_one_device_has_the_gradients_of_the_model_alone(tmp_path: Path) -> None:
    alone, shared = GPT(SHAPE).to(DEVICE), GPT(SHAPE).to(DEVICE)
    ids = torch.randint(300, (4, 33), device=DEVICE)
    store = dist.FileStore(str(tmp_path / "store"), 1)  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group("nccl" if DEVICE == "cuda" else "gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(shared, gradient_as_bucket_view=True)
        for model in (alone, wrapped):
            model(ids[:, :-1], ids[:, 1:]).backward()
    finally:
        dist.destroy_process_group()
    for name, parameter in alone.named_parameters():
        torch.testing.assert_close(parameter.grad, shared.get_parameter(name).grad)
